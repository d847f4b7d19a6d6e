//! Deletes a million expired sessions while other callers get and set. Measures how much slower these calls are,
//! and how long it takes.
//!
//! `cargo bench --bench prune`

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use session_postgres::{Offload, PostgresStore, Pruner, Store, postgres::Client};
use tokio::runtime::Runtime;

use support::{
    Bench, CONNECTIONS, key_of,
    load::{self, Length, Load},
    ratio::{Ratio, is_test},
    verb::Verb,
};

const THREADS: usize = 8;
const TASKS: usize = 64;

struct Pruning {
    bench: Bench,
    runtime: Runtime,
    /// The number of expired sessions.
    expired: u64,
    /// The length of a turn.
    window: Duration,
}

fn main() {
    let (living, expired, window) = if is_test() {
        (500, 5_000, Duration::from_millis(20))
    } else {
        (100_000, 1_000_000, Duration::from_secs(1))
    };
    let pruning = Pruning {
        bench: Bench::with_sessions(living),
        runtime: Runtime::new().unwrap(),
        expired,
        window,
    };
    pruning.alone();
    pruning.beside_threads();
    pruning.beside_tasks();
    pruning.two_calls();
    pruning.two_pruners();
}

impl Pruning {
    /// Measures pruning without other callers.
    fn alone(&self) {
        let mut client = self.fill();
        let store = self.bench.single();
        let prune = || time(|| store.prune(u64::MAX).unwrap());
        let before = wal_position(&mut client);
        let (removed, elapsed) = prune();
        report("alone", removed, elapsed);
        let bytes = wal_position(&mut client) - before;
        println!("  {} bytes of WAL per row", bytes / removed as i64);
        let (removed, elapsed) = prune();
        assert_eq!(removed, 0);
        println!("  again, with nothing to remove: {elapsed:.2?}");
        client.batch_execute("VACUUM session").unwrap();
        println!("  again, after a vacuum: {:.2?}", prune().1);
        self.check_living();
    }

    fn beside_threads(&self) {
        let store = self.bench.store(CONNECTIONS);
        self.compare("beside 8 threads on 8 connections", &|| {
            load::threads(THREADS, Length::Time(self.window), |caller| {
                let (store, bench) = (&store, &self.bench);
                move |call| {
                    let key = key_of(&bench.keys, caller, call);
                    verb(call).call(store, key, &bench.value);
                }
            })
        });
    }

    fn beside_tasks(&self) {
        let store = Offload::new(self.bench.store(CONNECTIONS));
        self.compare("beside 64 tasks on 8 connections", &|| {
            load::tasks(&self.runtime, TASKS, Length::Time(self.window), |caller| {
                let get = self.bench.async_caller(&store, Verb::Get, caller);
                let set = self.bench.async_caller(&store, Verb::Set, caller);
                move |call| match verb(call) {
                    Verb::Set => set(call),
                    _ => get(call),
                }
            })
        });
    }

    /// Compares the load with a pruner and without, in turns.
    fn compare(&self, name: &str, load: &dyn Fn() -> Load) {
        let mut client = self.fill();
        // Warms up: opens connections and prepares statements.
        load();
        let untouched: Vec<_> = (0..5).map(|_| load()).collect();
        let turns = self.turns(&mut client, load);
        self.check_living();
        println!("{name}: {} turns of {:?}", turns.pairs.len(), self.window);
        if !turns.pairs.is_empty() {
            report("  removed in these turns", turns.removed, turns.pruning);
            turns.print(&untouched);
        }
    }

    fn turns(&self, client: &mut Client, load: &dyn Fn() -> Load) -> Turns {
        let store = Arc::new(self.bench.single());
        let mut turns = Turns::default();
        loop {
            let (without, (with, pruning)) = if turns.pairs.len() % 2 == 0 {
                let without = load();
                (without, with_pruner(&store, load))
            } else {
                let with = with_pruner(&store, load);
                (load(), with)
            };
            let left = count_expired(client);
            // The last turn does not count, because the pruner had nothing to do for a part of it.
            if left == 0 {
                return turns;
            }
            turns.pairs.push((without, with));
            turns.removed = self.expired - left;
            turns.pruning += pruning;
        }
    }

    fn two_calls(&self) {
        self.fill();
        let stores = [self.bench.single(), self.bench.single()];
        let (removed, elapsed) = time(|| {
            thread::scope(|scope| {
                let prune = |store: PostgresStore| store.prune(u64::MAX).unwrap();
                let calls = stores.map(|store| scope.spawn(move || prune(store)));
                calls.map(|call| call.join().unwrap())
            })
        });
        let sum = removed.iter().sum();
        report("two calls of prune at once", sum, elapsed);
        println!("  of them {} and {}", removed[0], removed[1]);
        assert_eq!(sum, self.expired);
        self.check_living();
    }

    fn two_pruners(&self) {
        self.fill();
        let start = Instant::now();
        let pruners = [(); 2].map(|()| {
            let pruner = Pruner::builder().interval(Duration::from_millis(10));
            pruner.start(Arc::new(self.bench.single()))
        });
        let sum = || pruners.iter().map(|p| p.stats().removed).sum::<u64>();
        while sum() < self.expired {
            thread::sleep(Duration::from_millis(1));
        }
        report("two pruners at once", sum(), start.elapsed());
        for pruner in &pruners {
            println!("  {:?}", pruner.stats());
        }
        drop(pruners);
        self.check_living();
    }

    /// Adds the expired sessions and leaves the server with no work in the background.
    fn fill(&self) -> Client {
        let mut client = self.bench.client();
        let insert = "INSERT INTO session \
             SELECT left(md5(random()::text) || md5(random()::text), 40), \
                    now() - interval '1 hour', repeat('x', 200) \
             FROM generate_series(1, $1)";
        client.execute(insert, &[&(self.expired as i32)]).unwrap();
        for settle in ["VACUUM ANALYZE session", "CHECKPOINT"] {
            client.batch_execute(settle).unwrap();
        }
        client
    }

    /// Panics if a living session is missing or has another value.
    fn check_living(&self) {
        let store = self.bench.single();
        let keys: Vec<_> = self.bench.keys.iter().collect();
        for session in store.get_many(&keys) {
            assert_eq!(session.unwrap().value, *self.bench.value);
        }
        let sql = "SELECT count(*) FROM session";
        let rows: i64 = self.bench.client().query_one(sql, &[]).unwrap().get(0);
        assert_eq!(rows as usize, keys.len());
    }
}

/// The result of [`Pruning::turns`].
#[derive(Default)]
struct Turns {
    /// The load without a pruner and with one.
    pairs: Vec<(Load, Load)>,
    removed: u64,
    /// The time that pruners ran.
    pruning: Duration,
}

/// The name of a figure, the goal for its ratio, and the figure.
type Figure<'a> = (&'a str, &'a str, &'a dyn Fn(&Load) -> f64);

impl Turns {
    fn print(&self, untouched: &[Load]) {
        let p99 = |load: &Load| load.p99().as_secs_f64() * 1e3;
        let figures: [Figure<'_>; 2] = [
            ("  p99 of gets and sets, ms", "<= 2", &p99),
            ("  gets and sets per second", "", &Load::rate),
        ];
        for (name, _, figure) in figures {
            let without = self.pairs.iter().map(|pair| figure(&pair.0));
            let with = self.pairs.iter().map(|pair| figure(&pair.1));
            println!(
                "{name}: median {:.1} before all, {:.1} without, {:.1} with",
                median(untouched.iter().map(figure)),
                median(without),
                median(with),
            );
        }
        Ratio::print_head();
        for (name, goal, figure) in figures {
            let ratios = self.pairs.iter().map(|(a, b)| figure(b) / figure(a));
            let ratios: Vec<_> = ratios.collect();
            Ratio::from(ratios).print(&format!("{name}, with / without"), goal);
        }
    }
}

/// Returns the load, and for how long the pruner ran.
fn with_pruner(store: &Arc<PostgresStore>, load: &dyn Fn() -> Load) -> (Load, Duration) {
    time(|| {
        let pruner = Pruner::start(store.clone());
        let load = load();
        drop(pruner);
        // The pruner's last statement must not run in the next turn.
        while Arc::strong_count(store) > 1 {
            thread::yield_now();
        }
        load
    })
}

/// One call in four is a set.
fn verb(call: usize) -> Verb {
    if call % 4 == 0 { Verb::Set } else { Verb::Get }
}

fn time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn count_expired(client: &mut Client) -> u64 {
    let sql = "SELECT count(*) FROM session WHERE expire_date <= now()";
    client.query_one(sql, &[]).unwrap().get::<_, i64>(0) as u64
}

fn wal_position(client: &mut Client) -> i64 {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::int8";
    client.query_one(sql, &[]).unwrap().get(0)
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn report(name: &str, removed: u64, time: Duration) {
    let rate = removed as f64 / time.as_secs_f64();
    println!("{name:<62} {removed:>9} rows in {time:>7.2?}, {rate:>7.0} per second");
}
