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

use session_postgres::{Error, Key, MemoryStore, OffloadBuilder, Period, Session, Store};
use tokio::runtime::{Builder, Runtime};

use super::{
    outcome::Tally,
    round::{FAMILIES, Round},
    short_lived::{LIFE, ShortLived},
    stores::run_tasks,
};
use crate::support::random::{Random, seed};

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

impl Store for Slow {
    fn default_period(&self) -> Period {
        self.store.default_period()
    }

    fn set_default_period(&self, period: Period) {
        self.store.set_default_period(period);
    }

    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::new(4).unwrap()
    }

    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        self.slowly(|store| store.generate(value, expiry))
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.slowly(|store| store.clear(key))
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        self.slowly(|store| store.get(key))
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.slowly(|store| store.set(key, value, expiry))
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        self.slowly(|store| store.insert(key, value, expiry))
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.slowly(|store| store.touch(key, expiry))
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        self.slowly(|store| store.rotate(key))
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        self.slowly(|store| store.update(key, expiry, edit))
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
    let slow = Slow::default();
    slow.seed.store(seed, Ordering::Relaxed);
    let store = OffloadBuilder::default()
        .timeout(timeout)
        .build(slow.clone());
    let short_lived = ShortLived::new(|key| slow.store.insert(key, Some("0"), Some(LIFE)));
    let round = Arc::new(Round::new(short_lived.unwrap()));
    run_tasks(&store, runtime, &round, tally, seed);
    round.read_all(|key| match slow.store.get(key) {
        Ok(session) => Some(Some(session.value)),
        Err(Error::NotSet) => Some(None),
        Err(Error::NotFound) => None,
        Err(error) => panic!("{error}"),
    });
    match round.check() {
        Ok(undecided) => undecided,
        Err(what) => panic!("seed {seed}: {what}\n{tally}"),
    }
}
