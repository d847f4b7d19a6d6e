//! The counters of a facade.

use std::time::Duration;

use crate::{
    BatchSizes, CallStats,
    observe::{BatchCounters, CallCounters, Gauge, Histogram, OFFLOAD},
};

/// The counters of an [`Offload`](crate::Offload), returned by [`Offload::stats`](crate::Offload::stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffloadStats {
    /// Calls by method, and errors by kind. If the future of a call was dropped, its error is not counted.
    pub calls: CallStats,
    /// How many calls workers have taken together. A call that waits for a lock is taken twice.
    pub batches: BatchSizes,
    /// The number of calls that wait for a worker now.
    pub waiting: usize,
    /// The number of calls that workers execute now.
    pub running: usize,
}

/// The counters of a facade that need no lock.
pub(super) struct OffloadCounters {
    pub(super) calls: CallCounters,
    pub(super) batches: BatchCounters,
    /// The time from a call until a worker has taken it.
    pub(super) queue_seconds: Histogram,
}

impl OffloadCounters {
    pub(super) fn new(slow_threshold: Duration) -> OffloadCounters {
        OffloadCounters {
            calls: CallCounters::new(&OFFLOAD.calls, slow_threshold),
            batches: BatchCounters::new(&OFFLOAD.calls),
            queue_seconds: Histogram::new(OFFLOAD.queue_seconds),
        }
    }

    pub(super) fn get(&self, open: &OpenCalls) -> OffloadStats {
        OffloadStats {
            calls: self.calls.get(),
            batches: self.batches.get(),
            waiting: open.waiting,
            running: open.running,
        }
    }
}

/// The numbers of calls that are not done. The queue changes them under its lock.
#[derive(Clone, Copy, Default)]
pub(super) struct OpenCalls {
    pub(super) waiting: usize,
    pub(super) running: usize,
}

/// The same for the crate `metrics`.
pub(super) struct OpenCallGauges {
    waiting: Gauge,
    running: Gauge,
}

impl OpenCallGauges {
    pub(super) fn new() -> OpenCallGauges {
        OpenCallGauges {
            waiting: Gauge::new(OFFLOAD.waiting),
            running: Gauge::new(OFFLOAD.running),
        }
    }

    pub(super) fn set(&self, open: &OpenCalls) {
        if cfg!(feature = "metrics") {
            self.waiting.set(open.waiting);
            self.running.set(open.running);
        }
    }
}
