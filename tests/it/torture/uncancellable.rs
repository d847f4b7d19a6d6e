//! A facade over a slow store that cannot cancel its calls.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use session_postgres::{Error, Key, MemoryStore, OffloadBuilder, Store};
use tokio::runtime::{Builder, Runtime};

use super::{
    outcome::Tally,
    round::{FAMILIES, Round, Stored},
    short_lived::{LIFE, ShortLived},
    stores::run_tasks,
};
use crate::support::{
    random::{Random, seed},
    wrapper::{Around, Wrapper},
};

const ROUNDS: u64 = 30;

/// Waits before and after each call.
#[derive(Clone, Default)]
struct Slow {
    store: Arc<MemoryStore>,
    seed: Arc<AtomicU64>,
}

impl Slow {
    fn slowly<T>(&self, call: impl FnOnce(&MemoryStore) -> T) -> T {
        let mut random = Random(self.seed.fetch_add(1, Ordering::Relaxed));
        let mut pause = || {
            // A facade waits for a call until a second after its deadline.
            let longest = match random.below(50) {
                0 => 2_000,
                1..30 => 20,
                _ => 1,
            };
            thread::sleep(Duration::from_millis(random.below(longest) as u64));
        };
        pause();
        let result = call(&self.store);
        pause();
        result
    }
}

impl Around for Slow {
    type Inner = MemoryStore;

    fn inner(&self) -> &MemoryStore {
        &self.store
    }

    fn around<T>(
        &self,
        _: &'static str,
        _: &[&Key],
        _: usize,
        call: impl FnOnce(&MemoryStore) -> T,
    ) -> T {
        self.slowly(call)
    }

    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::new(4).unwrap()
    }
}

#[test]
fn calls_of_a_facade_over_a_store_that_cannot_cancel_are_linearizable() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let (first, tally) = (seed(), Arc::<Tally>::default());
    eprintln!("seed {first}");
    // Rounds mostly wait, so running them at the same time costs little.
    let undecided: usize = thread::scope(|scope| {
        let rounds: Vec<_> = (0..ROUNDS)
            .map(|number| {
                let (runtime, tally) = (&runtime, &tally);
                let timeout = Duration::from_millis(50 + 20 * (number % 8));
                let seed = first.wrapping_add(number);
                scope.spawn(move || run(runtime, tally, timeout, seed))
            })
            .collect();
        rounds.into_iter().map(|round| round.join().unwrap()).sum()
    });
    let families = ROUNDS as usize * FAMILIES;
    eprintln!("{tally}\n{undecided} of {families} families undecided");
    assert!(
        undecided * 20 <= families,
        "{undecided} of {families} undecided"
    );
}

/// Runs a round. Returns the number of families for which the search gave up.
fn run(runtime: &Runtime, tally: &Arc<Tally>, timeout: Duration, seed: u64) -> usize {
    let slow = Wrapper::<Slow>::default();
    slow.seed.store(seed, Ordering::Relaxed);
    let store = OffloadBuilder::default()
        .timeout(timeout)
        .build(slow.clone());
    let short_lived = ShortLived::new(|key| slow.store.insert(key, Some("0"), Some(LIFE)));
    let round = Arc::new(Round::new(short_lived.unwrap()));
    run_tasks(&store, runtime, &round, tally, seed);
    let stored = |value| Stored { value, owner: None };
    round.read_all(|key| match slow.store.get(key) {
        Ok(session) => Some(stored(Some(session.value))),
        Err(Error::NotSet) => Some(stored(None)),
        Err(Error::NotFound) => None,
        Err(error) => panic!("{error}"),
    });
    match round.check() {
        Ok(undecided) => undecided,
        Err(what) => panic!("seed {seed}: {what}\n{tally}"),
    }
}
