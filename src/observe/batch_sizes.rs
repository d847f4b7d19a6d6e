//! The numbers of calls that were executed together.

use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::{catalogue::CallMetrics, metric::Histogram};

/// The number of ranges of sizes. The last one has all batches of more than 4,096 calls.
const RANGES: usize = 14;

/// How many calls were executed together, as a part of [`OffloadStats`](crate::OffloadStats) and
/// [`StoreStats`](crate::StoreStats).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchSizes {
    /// The number of batches. A call that is executed alone is a batch of one.
    pub batches: u64,
    /// The number of calls in all batches.
    pub calls: u64,
    /// The number of calls in the largest batch.
    pub largest: usize,
    by_size: [u64; RANGES],
}

impl BatchSizes {
    /// Returns the number of batches by size: each item is a largest size and the number of batches up to this size that
    /// are larger than the size before it. The sizes are 1, 2, 4, and so on up to 4,096, and `usize::MAX`.
    pub fn by_size(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let ranges = self.by_size.iter().enumerate();
        ranges.map(|(range, count)| (largest_of(range), *count))
    }
}

impl fmt::Debug for BatchSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchSizes")
            .field("batches", &self.batches)
            .field("calls", &self.calls)
            .field("largest", &self.largest)
            .finish_non_exhaustive()
    }
}

fn range_of(size: usize) -> usize {
    let power = size.max(1).next_power_of_two().trailing_zeros() as usize;
    power.min(RANGES - 1)
}

fn largest_of(range: usize) -> usize {
    match range < RANGES - 1 {
        true => 1 << range,
        false => usize::MAX,
    }
}

/// Counts batches.
pub(crate) struct BatchCounters {
    calls: AtomicU64,
    largest: AtomicUsize,
    by_size: [AtomicU64; RANGES],
    exported: Histogram,
}

impl BatchCounters {
    pub(crate) fn new(metrics: &CallMetrics) -> BatchCounters {
        BatchCounters {
            calls: AtomicU64::new(0),
            largest: AtomicUsize::new(0),
            by_size: [const { AtomicU64::new(0) }; RANGES],
            exported: Histogram::new(metrics.batch_size),
        }
    }

    pub(crate) fn count(&self, calls: usize) {
        if calls == 0 {
            return;
        }
        self.by_size[range_of(calls)].fetch_add(1, Ordering::Relaxed);
        self.calls.fetch_add(calls as u64, Ordering::Relaxed);
        self.largest.fetch_max(calls, Ordering::Relaxed);
        self.exported.record(calls);
    }

    pub(crate) fn get(&self) -> BatchSizes {
        let by_size = self.by_size.each_ref();
        let by_size = by_size.map(|count| count.load(Ordering::Relaxed));
        BatchSizes {
            batches: by_size.iter().sum(),
            calls: self.calls.load(Ordering::Relaxed),
            largest: self.largest.load(Ordering::Relaxed),
            by_size,
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn each_size_is_in_the_range_of_the_next_power_of_two() {
        let sizes = BatchCounters::new(&crate::observe::STORE.calls);
        for size in [1, 2, 3, 4, 5, 4096, 4097, usize::MAX / 2] {
            sizes.count(size);
        }
        let sizes: Vec<_> = sizes
            .get()
            .by_size()
            .filter(|(_, count)| *count > 0)
            .collect();
        let max = usize::MAX;
        assert_eq!(sizes, [(1, 1), (2, 1), (4, 2), (8, 1), (4096, 1), (max, 2)]);
    }
}
