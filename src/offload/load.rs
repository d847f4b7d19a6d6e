//! How much of the processors the executing batches use, which decides whether another worker pays.
//!
//! A worker that waits for a network or a disk leaves its processor to others, so there can be many. If a statement
//! takes hardly longer than the program and the server compute for it, the server is near, and often on the same
//! processors. Then more workers than processors only make smaller batches, and wait for each other.
//!
//! A statement is taken to compute for [`COMPUTING`], and for [`COMPUTING_PER_CALL`] more for each call. The shortest time
//! that statements of its verb have taken in the last seconds says how long it takes in all, because some of them have
//! few calls, also under load. The part of its time in which a batch computes is the part of a processor that it uses.

use std::time::{Duration, Instant};

use super::queues::VERBS;

/// The time for which a program and a server compute for one statement.
const COMPUTING: Duration = Duration::from_micros(150);

/// The time for which they compute for each of its calls.
const COMPUTING_PER_CALL: Duration = Duration::from_micros(8);

/// The time for which the shortest time of a statement is measured, and then used.
const PERIOD: Duration = Duration::from_secs(1);

/// Only batches of up to this many calls are measured. Larger ones take longer, also if the server is near.
const MEASURED: usize = 8;

/// How long a batch counts. One that takes longer waits, for example for a lock or a server that does not answer, and
/// other calls must not wait for it.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// The batches that workers execute, and what they cost.
pub(super) struct Load {
    /// `None` if the number of workers is fixed.
    processors: Option<usize>,
    executing: Vec<Executing>,
    shortest: [Shortest; VERBS],
}

/// A batch that a worker executes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Executing {
    /// The index of the queue of its verb, which is [`VERBS`] if it may take long.
    pub(super) queue: usize,
    pub(super) calls: usize,
    begun: Instant,
}

/// The shortest time that a statement has taken.
#[derive(Clone, Copy, Default)]
struct Shortest {
    /// In the period before this one that has an end.
    last: Option<Duration>,
    /// In this period.
    now: Option<Duration>,
    /// When this period has begun.
    since: Option<Instant>,
}

impl Load {
    pub(super) fn new(processors: Option<usize>) -> Load {
        Load {
            processors,
            executing: Vec::new(),
            shortest: [Shortest::default(); VERBS],
        }
    }

    pub(super) fn begin(&mut self, queue: usize, calls: usize, now: Instant) -> Executing {
        let batch = Executing {
            queue,
            calls,
            begun: now,
        };
        if self.processors.is_some() {
            self.executing.push(batch);
        }
        batch
    }

    pub(super) fn end(&mut self, batch: Executing, now: Instant) {
        if let Some(place) = self.executing.iter().position(|other| *other == batch) {
            self.executing.swap_remove(place);
            if batch.calls <= MEASURED && batch.queue < VERBS {
                self.shortest[batch.queue].saw(now.duration_since(batch.begun), now);
            }
        }
    }

    /// Whether the processors have room for a batch of this queue, with this number of calls.
    pub(super) fn has_room(&self, queue: usize, calls: usize, now: Instant) -> bool {
        let Some(processors) = self.processors else {
            return true;
        };
        let counts = |batch: &&Executing| now.duration_since(batch.begun) < PATIENCE;
        let executing = self.executing.iter().filter(counts);
        let used: f64 = executing
            .map(|batch| self.part(batch.queue, batch.calls))
            .sum();
        used + self.part(queue, calls) <= processors as f64
    }

    /// The number of calls of this queue for which the processors have room, each in its own batch.
    pub(super) fn most_alone(&self, queue: usize) -> usize {
        match self.processors {
            // As `f64`, the conversion saturates.
            Some(processors) => (processors as f64 / self.part(queue, 1)) as usize,
            None => usize::MAX,
        }
    }

    /// The part of a processor that a batch uses.
    fn part(&self, queue: usize, calls: usize) -> f64 {
        let Some(shortest) = self.shortest.get(queue).and_then(Shortest::known) else {
            return 0.0;
        };
        let by_calls = COMPUTING_PER_CALL.as_secs_f64() * calls.saturating_sub(1) as f64;
        let computing = COMPUTING.as_secs_f64() + by_calls;
        (computing / (shortest.as_secs_f64() + by_calls)).min(1.0)
    }
}

impl Shortest {
    fn saw(&mut self, time: Duration, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= PERIOD {
            self.last = self.now.take();
            self.since = Some(now);
        }
        self.now = Some(self.now.map_or(time, |shortest| shortest.min(time)));
    }

    /// `None` if there are no measurements yet.
    fn known(&self) -> Option<Duration> {
        match (self.last, self.now) {
            (Some(last), Some(now)) => Some(last.min(now)),
            (last, now) => last.or(now),
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    const GET: usize = 0;
    const SET: usize = 2;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Returns the load of two processors after a `get` and a `set` of these times.
    fn after(get: u64, set: u64, now: Instant) -> Load {
        let mut load = Load::new(Some(2));
        for (queue, time) in [(GET, get), (SET, set)] {
            let batch = load.begin(queue, 1, now);
            load.end(batch, now + micros(time));
        }
        load
    }

    fn begin_all(load: &mut Load, queue: usize, calls: usize, now: Instant) -> usize {
        (0..100)
            .take_while(|_| {
                let has_room = load.has_room(queue, calls, now);
                if has_room {
                    load.begin(queue, calls, now);
                }
                has_room
            })
            .count()
    }

    #[test]
    fn a_near_server_gets_a_batch_for_each_processor() {
        let now = Instant::now();
        let mut load = after(60, 60, now);
        assert_eq!(load.most_alone(GET), 2);
        assert_eq!(begin_all(&mut load, GET, 1, now), 2);
    }

    #[test]
    fn a_distant_server_gets_more_batches() {
        let now = Instant::now();
        let mut load = after(600, 600, now);
        assert_eq!(load.most_alone(GET), 8);
        assert_eq!(begin_all(&mut load, GET, 1, now), 8);
    }

    #[test]
    fn large_batches_use_more_of_a_processor() {
        let now = Instant::now();
        assert_eq!(begin_all(&mut after(600, 600, now), GET, 16, now), 5);
        assert_eq!(begin_all(&mut after(600, 600, now), GET, 128, now), 2);
    }

    #[test]
    fn a_batch_that_waits_for_a_disk_leaves_room_for_reads() {
        let now = Instant::now();
        let mut load = after(60, 6000, now);
        for _ in 0..7 {
            load.begin(SET, 1, now);
        }
        assert!(load.has_room(GET, 1, now));
    }

    #[test]
    fn a_batch_counts_until_it_has_taken_long() {
        let now = Instant::now();
        let mut load = after(60, 60, now);
        let first = load.begin(GET, 1, now);
        load.begin(GET, 1, now);
        assert!(!load.has_room(GET, 1, now));
        assert!(load.has_room(GET, 1, now + PATIENCE));
        load.end(first, now);
        assert!(load.has_room(GET, 1, now));
    }

    #[test]
    fn the_shortest_time_of_the_last_periods_counts() {
        let now = Instant::now();
        let mut load = after(60, 60, now);
        for period in 1..4 {
            let now = now + PERIOD * period;
            let large = load.begin(GET, MEASURED + 1, now);
            load.end(large, now + micros(60));
            let alone = load.begin(GET, 1, now);
            load.end(alone, now + micros(600));
            assert_eq!(load.most_alone(GET), if period == 1 { 2 } else { 8 });
        }
    }

    #[test]
    fn a_fixed_number_of_workers_is_not_adapted() {
        let now = Instant::now();
        let mut load = Load::new(None);
        assert_eq!(begin_all(&mut load, GET, 1, now), 100);
    }
}
