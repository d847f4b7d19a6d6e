//! What the facade counts.

/// What [`Offload::stats`](crate::Offload::stats) counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that wait for a lane now.
    pub waiting: usize,
    /// Calls that lanes carry out now.
    pub running: usize,
    /// Calls that lanes have taken so far.
    pub calls: u64,
    /// Trips that those made.
    pub batches: u64,
    /// The most calls that made a trip together.
    pub largest_batch: usize,
    /// Calls whose time was up before the store had answered.
    pub timeouts: u64,
    /// Calls that were turned away because too many waited.
    pub overloads: u64,
}

impl Stats {
    /// A lane took so many calls that waited, for one trip.
    pub(super) fn taken(&mut self, calls: usize) {
        self.waiting -= calls;
        self.running += calls;
        self.calls += calls as u64;
        self.batches += 1;
        self.largest_batch = self.largest_batch.max(calls);
    }
}
