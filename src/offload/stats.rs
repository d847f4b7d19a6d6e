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

/// The counters of a facade. None is changed while the queue is locked, because the recorder of a program gets them.
pub(super) struct OffloadCounters {
    pub(super) calls: CallCounters,
    batches: BatchCounters,
    pub(super) queue_seconds: Histogram,
    waiting: Gauge,
    running: Gauge,
}

impl OffloadCounters {
    pub(super) fn new(slow_threshold: Duration) -> OffloadCounters {
        OffloadCounters {
            calls: CallCounters::new(&OFFLOAD.calls, slow_threshold),
            batches: BatchCounters::new(&OFFLOAD.calls),
            queue_seconds: Histogram::new(OFFLOAD.queue_seconds),
            waiting: Gauge::new(OFFLOAD.waiting),
            running: Gauge::new(OFFLOAD.running),
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

    /// Counts a call that begins to wait. This and the next are only for the crate `metrics`: the queue counts the calls,
    /// too.
    pub(super) fn begin_waiting(&self) {
        if cfg!(feature = "metrics") {
            self.waiting.add(1);
        }
    }

    /// Counts calls that do not wait any more.
    pub(super) fn end_waiting(&self, calls: usize) {
        if cfg!(feature = "metrics") {
            self.waiting.subtract(calls);
        }
    }

    /// Counts calls that a worker has taken together, until the result is dropped.
    pub(super) fn taken(&self, calls: usize) -> Running<'_> {
        self.end_waiting(calls);
        if cfg!(feature = "metrics") {
            self.running.add(calls);
        }
        self.batches.count(calls);
        Running {
            counters: self,
            calls,
        }
    }
}

/// Calls that a worker executes.
pub(super) struct Running<'a> {
    counters: &'a OffloadCounters,
    calls: usize,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if cfg!(feature = "metrics") {
            self.counters.running.subtract(self.calls);
        }
    }
}

/// The numbers of calls that are not done. The queue changes them under its lock.
#[derive(Clone, Copy, Default)]
pub(super) struct OpenCalls {
    pub(super) waiting: usize,
    pub(super) running: usize,
}
