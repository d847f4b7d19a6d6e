//! Removing a million expired sessions while others get and set: what those notice of it, and how long
//! it takes. `cargo bench --bench prune`

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    cell::Cell,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use session_postgres::{Offload, PostgresStore, Pruner, Store, postgres::Client};
use tokio::runtime::Runtime;

use support::{
    Bench,
    load::{self, Length, Load},
    ratio::{Ratio, trying},
    verbs::{Verb, place},
};

/// How many connections those who get and set have.
const CONNECTIONS: u32 = 8;

/// How many of them there are, as threads, and as tasks.
const THREADS: usize = 8;
const TASKS: usize = 64;

/// One call in so many is a set.
const SETS: usize = 4;

/// What is told of a load: its name, the bar for its ratio, and how to have it.
type Figure<'a> = (&'a str, &'a str, &'a dyn Fn(&Load) -> f64);

struct Pruning {
    bench: Bench,
    runtime: Runtime,
    expired: u64,
    /// How long the load is looked at at a time.
    window: Duration,
}

fn main() {
    let (living, expired, window) = if trying() {
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
    pruning.two_programs();
}

impl Pruning {
    /// Adds the expired rows, and has the server settled afterwards.
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

    fn expired(&self, client: &mut Client) -> u64 {
        let sql = "SELECT count(*) FROM session WHERE expire_date <= now()";
        client.query_one(sql, &[]).unwrap().get::<_, i64>(0) as u64
    }

    /// Fails where one living session is missing or is not what it was.
    fn check_living(&self) {
        let store = self.bench.single();
        let keys: Vec<_> = self.bench.keys.iter().collect();
        for session in store.get_many(&keys) {
            assert_eq!(session.unwrap().value, *self.bench.value);
        }
        let mut client = self.bench.client();
        let rows: i64 = client
            .query_one("SELECT count(*) FROM session", &[])
            .unwrap()
            .get(0);
        assert_eq!(rows as usize, keys.len());
    }

    fn report(&self, name: &str, removed: u64, time: Duration) {
        let rate = removed as f64 / time.as_secs_f64();
        println!("{name:<62} {removed:>9} rows in {time:>7.2?}, {rate:>7.0} a second");
    }

    /// Nobody else calls.
    fn alone(&self) {
        let mut client = self.fill();
        let wal = |client: &mut Client| -> i64 {
            let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::int8";
            client.query_one(sql, &[]).unwrap().get(0)
        };
        let store = self.bench.single();
        let (before, begun) = (wal(&mut client), Instant::now());
        let removed = store.prune(u64::MAX).unwrap();
        self.report("alone", removed, begun.elapsed());
        let bytes = wal(&mut client) - before;
        println!("  {} bytes of WAL a row", bytes / removed as i64);
        let begun = Instant::now();
        assert_eq!(store.prune(u64::MAX).unwrap(), 0);
        println!(
            "  a pass that finds nothing, right after: {:.2?}",
            begun.elapsed()
        );
        client.batch_execute("VACUUM session").unwrap();
        let begun = Instant::now();
        store.prune(u64::MAX).unwrap();
        println!("  and after a vacuum: {:.2?}", begun.elapsed());
        self.check_living();
    }

    /// What the load is like for so long while nothing is removed, and while it is, in turns, until
    /// all is removed.
    fn in_turns(&self, name: &str, load: impl Fn() -> Load) {
        let mut client = self.fill();
        let store = Arc::new(self.bench.single());
        // Connections are made, statements prepared.
        load();
        let untouched: Vec<_> = (0..5).map(|_| load()).collect();
        let time = Cell::new(Duration::ZERO);
        let with = || {
            let begun = Instant::now();
            let pruner = Pruner::start(store.clone());
            let load = load();
            drop(pruner);
            // What it has under way ends before the other's turn.
            while Arc::strong_count(&store) > 1 {
                thread::yield_now();
            }
            time.set(time.get() + begun.elapsed());
            load
        };
        let mut turns = Vec::new();
        let mut left = self.expired;
        loop {
            let time_before = time.get();
            let (without, with) = if turns.len() % 2 == 0 {
                let without = load();
                (without, with())
            } else {
                let with = with();
                (load(), with)
            };
            let before = left;
            left = self.expired(&mut client);
            // In the last there was nothing to do for a part of the time.
            if left > 0 {
                turns.push((without, with));
            } else {
                println!("{name}: {} turns of {:?}", turns.len(), self.window);
                if !turns.is_empty() {
                    self.report("  removed in them", self.expired - before, time_before);
                }
                break;
            }
        }
        self.check_living();
        if turns.is_empty() {
            return;
        }
        let p99 = |load: &Load| load.p99().as_secs_f64() * 1e3;
        let figures: [Figure<'_>; 2] = [
            ("  p99 of gets and sets, ms", "<= 2", &p99),
            ("  gets and sets a second", "", &Load::rate),
        ];
        for (name, _, figure) in figures {
            let median = |loads: &mut dyn Iterator<Item = &Load>| {
                let mut figures: Vec<_> = loads.map(figure).collect();
                figures.sort_by(f64::total_cmp);
                figures[figures.len() / 2]
            };
            println!(
                "{name}: median {:.1} before all, {:.1} without, {:.1} with",
                median(&mut untouched.iter()),
                median(&mut turns.iter().map(|turn| &turn.0)),
                median(&mut turns.iter().map(|turn| &turn.1)),
            );
        }
        Ratio::print_head();
        for (name, bar, figure) in figures {
            let ratios = turns.iter().map(|turn| figure(&turn.1) / figure(&turn.0));
            let ratios: Vec<_> = ratios.collect();
            Ratio::from(ratios).print(&format!("{name}, with / without"), bar);
        }
    }

    fn beside_threads(&self) {
        let store = self.bench.store(CONNECTIONS);
        self.in_turns("beside 8 threads on 8 connections", || {
            load::threads(THREADS, Length::Time(self.window), |caller| {
                let (store, bench) = (&store, &self.bench);
                move |call| {
                    let key = &bench.keys[place(bench.keys.len(), caller, call)];
                    verb(call).call(store, key, &bench.value);
                }
            })
        });
    }

    fn beside_tasks(&self) {
        let store = Offload::new(self.bench.store(CONNECTIONS));
        self.in_turns("beside 64 tasks on 8 connections", || {
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

    /// Two programs at once, each of which would do it all.
    fn two_programs(&self) {
        self.fill();
        let begun = Instant::now();
        let removed: Vec<u64> = thread::scope(|scope| {
            let programs = [self.bench.single(), self.bench.single()];
            let calls = programs.map(|store| scope.spawn(move || store.prune(u64::MAX).unwrap()));
            calls.map(|call| call.join().unwrap()).into()
        });
        self.report(
            "two calls of prune at once",
            removed.iter().sum(),
            begun.elapsed(),
        );
        println!("  of them {} and {}", removed[0], removed[1]);
        assert_eq!(removed.iter().sum::<u64>(), self.expired);
        self.check_living();

        self.fill();
        let begun = Instant::now();
        let pruners = [(); 2].map(|()| {
            let store: PostgresStore = self.bench.single();
            let often = Pruner::builder().interval(Duration::from_millis(10));
            often.start(Arc::new(store))
        });
        let sum = || pruners.iter().map(|p| p.stats().removed).sum::<u64>();
        while sum() < self.expired {
            thread::sleep(Duration::from_millis(1));
        }
        self.report("two pruners at once", sum(), begun.elapsed());
        for pruner in &pruners {
            println!("  {:?}", pruner.stats());
        }
        drop(pruners);
        self.check_living();
    }
}

fn verb(call: usize) -> Verb {
    if call % SETS == 0 {
        Verb::Set
    } else {
        Verb::Get
    }
}
