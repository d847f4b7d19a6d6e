//! The counters of a facade.

/// What [`Offload::stats`](crate::Offload::stats) counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that wait for a worker now.
    pub waiting: usize,
    /// Calls that workers execute now.
    pub running: usize,
    /// Calls that workers have taken so far. One that waits for a lock is taken twice.
    pub calls: u64,
    /// Batches that those were executed in.
    pub batches: u64,
    /// The largest number of calls in a batch.
    pub largest_batch: usize,
    /// Calls that were `TimedOut` or `StillRunning`.
    pub timeouts: u64,
    /// Calls that were turned away because too many waited.
    pub overloads: u64,
}

impl Stats {
    /// A worker took so many calls that waited, in one batch.
    pub(super) fn taken(&mut self, calls: usize) {
        self.waiting -= calls;
        self.running += calls;
        self.calls += calls as u64;
        self.batches += 1;
        self.largest_batch = self.largest_batch.max(calls);
    }
}
