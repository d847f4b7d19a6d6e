//! The figures of one run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Costs are sums over all calls; the methods return the cost of one call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) calls: usize,
    pub(crate) seconds: f64,
    /// Latency in microseconds.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// Processor time of the peer's process, in seconds.
    pub(crate) program_cpu: f64,
    /// Processor time of all processes of the server, in seconds.
    pub(crate) server_cpu: f64,
    /// Processor time of the proxy, in seconds. `None` without a proxy.
    pub(crate) proxy_cpu: Option<f64>,
    pub(crate) threads: u64,
    /// The peak memory of the peer's process.
    pub(crate) peak_bytes: u64,
    /// The growth of the server's log. `None` if it has no log.
    pub(crate) log_bytes: Option<u64>,
    /// Voluntary and involuntary context switches of the peer's process, and of the server.
    pub(crate) program_switches: u64,
    pub(crate) server_switches: u64,
}

impl Figures {
    pub(crate) fn rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    fn per_call(&self, sum: f64) -> f64 {
        sum / self.calls.max(1) as f64
    }

    pub(crate) fn program_micros(&self) -> f64 {
        self.per_call(self.program_cpu * 1e6)
    }

    pub(crate) fn server_micros(&self) -> f64 {
        self.per_call(self.server_cpu * 1e6)
    }

    pub(crate) fn cpu_micros(&self) -> f64 {
        self.program_micros() + self.server_micros()
    }

    pub(crate) fn proxy_micros(&self) -> Option<f64> {
        Some(self.per_call(self.proxy_cpu? * 1e6))
    }

    pub(crate) fn log(&self) -> Option<f64> {
        Some(self.per_call(self.log_bytes? as f64))
    }

    pub(crate) fn program_switches(&self) -> f64 {
        self.per_call(self.program_switches as f64)
    }

    pub(crate) fn server_switches(&self) -> f64 {
        self.per_call(self.server_switches as f64)
    }
}

/// Returns the percentile of the latencies in microseconds, or `None` if there are no latencies.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[last * percent / 100].as_secs_f64() * 1e6)
}
