//! The counters of a facade.

/// The counters of an [`Offload`](crate::Offload), returned by [`Offload::stats`](crate::Offload::stats).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The number of calls that wait for a worker now.
    pub waiting: usize,
    /// The number of calls that workers execute now.
    pub running: usize,
    /// The number of calls that workers have taken. A call that waits for a lock counts twice.
    pub calls: u64,
    /// The number of batches in which `calls` were executed.
    pub batches: u64,
    /// The largest number of calls in a batch.
    pub largest_batch: usize,
    /// The number of calls that failed with `TimedOut` or `StillRunning`.
    pub timeouts: u64,
    /// The number of calls that failed with `Overloaded`.
    pub overloads: u64,
}

impl Stats {
    /// Counts waiting calls that a worker has taken in one batch.
    pub(super) fn taken(&mut self, calls: usize) {
        self.waiting -= calls;
        self.running += calls;
        self.calls += calls as u64;
        self.batches += 1;
        self.largest_batch = self.largest_batch.max(calls);
    }
}
