//! Ratios of the facade: to a bare `spawn_blocking`, to blocking threads, and of batches to single calls.
//!
//! `cargo bench --bench offload_ratios`. For times, run `cargo bench --bench offload`.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use session_postgres::{Offload, OffloadBuilder, PostgresStore, Store};
use tokio::runtime::Runtime;

use support::{
    Bench, CONNECTIONS, key_of,
    load::{self, Length, Load},
    ratio::{Ratio, is_test, time},
    verb::{AsyncCall, VERBS, Verb},
};

struct Ratios {
    bench: Bench,
    runtime: Runtime,
    turns: usize,
    length: Duration,
}

fn main() {
    let (turns, length) = if is_test() {
        (1, Duration::from_millis(10))
    } else {
        (21, Duration::from_millis(100))
    };
    let ratios = Ratios {
        bench: Bench::new(),
        runtime: Runtime::new().unwrap(),
        turns,
        length,
    };
    Ratio::print_head();
    ratios.spawn_blocking();
    ratios.plain_threads();
    ratios.latency();
    // Last, because it clears sessions.
    ratios.batches();
}

impl Ratios {
    /// Compares what the facade adds to a single caller's call with a bare `spawn_blocking`.
    fn spawn_blocking(&self) {
        let (turns, calls) = if is_test() { (1, 1) } else { (101, 200) };
        let store = self.bench.store(CONNECTIONS);
        let facade = self.facade(Offload::builder(), CONNECTIONS);
        let get = || {
            let mut call = 0..;
            time(calls, || {
                let key = key_of(&self.bench.keys, 0, call.next().unwrap());
                drop(store.get(key).unwrap());
            })
        };
        let get_by_facade =
            || self.time_task(calls, self.bench.async_caller(&facade, Verb::Get, 0));
        let spawn_blocking = || {
            let call =
                |_| Box::pin(async { tokio::task::spawn_blocking(|| ()).await.unwrap() }) as _;
            self.time_task(calls, Box::new(call))
        };
        let ratio = || {
            let [facade, store, spawned] = [get_by_facade(), get(), spawn_blocking()];
            (facade.as_secs_f64() - store.as_secs_f64()) / spawned.as_secs_f64()
        };
        // Warms up.
        ratio();
        let ratios: Vec<_> = (0..turns).map(|_| ratio()).collect();
        Ratio::from(ratios).print(
            "time, (Offload::get - Store::get) / spawn_blocking",
            "<= 1.5",
        );
    }

    /// Runs the calls in a task, because `block_on` alone would run them outside tokio's worker threads.
    fn time_task(&self, calls: usize, call: AsyncCall) -> Duration {
        let run = async move {
            let start = Instant::now();
            for number in 0..calls {
                call(number).await;
            }
            start.elapsed()
        };
        self.runtime.block_on(self.runtime.spawn(run)).unwrap()
    }

    /// Compares with threads that each have a connection and a prepared statement.
    fn plain_threads(&self) {
        let facade = self.facade(Offload::builder(), CONNECTIONS);
        for (callers, goal) in [
            (1, ""),
            (4, ">= 1"),
            (16, ">= 1"),
            (64, ""),
            (256, ">= 2.5"),
        ] {
            let threads = callers.min(CONNECTIONS as usize);
            let plain = || {
                let caller = |caller| self.bench.plain_caller(Verb::Get, caller);
                load::threads(threads, Length::Time(self.length), caller).rate()
            };
            let by_facade = || self.load(&facade, Verb::Get, callers).rate();
            let name = format!("Get per second, {callers} callers / {threads} plain threads");
            Ratio::of_figures(self.turns, by_facade, plain).print(&name, goal);
        }
    }

    /// Compares with threads that share a blocking store.
    fn latency(&self) {
        let callers = 256;
        let facade = self.facade(Offload::builder(), CONNECTIONS);
        let store = self.bench.store(CONNECTIONS);
        let threads = || {
            let caller = |caller| self.bench.blocking_caller(&store, Verb::Get, caller);
            load::threads(callers, Length::Time(self.length), caller)
        };
        Ratio::of_figures(
            self.turns,
            || self.load(&facade, Verb::Get, callers).p99().as_secs_f64(),
            || threads().p99().as_secs_f64(),
        )
        .print(
            "p99 of Get, 256 callers / 256 threads on 8 connections",
            "< 1",
        );
    }

    /// Compares batches with one thread hop and one statement per call, as OCaml's session-postgresql-lwt does
    /// it. On several connections, the single statements share their commits.
    fn batches(&self) {
        for connections in [1, 2, 4] {
            for verb in [Verb::Get, Verb::Set] {
                self.batches_of(verb, &[64, 256], connections);
            }
        }
        for verb in VERBS {
            self.batches_of(verb, &[1, 4, 16, 64, 256, 1024], CONNECTIONS);
        }
    }

    fn batches_of(&self, verb: Verb, callers: &[usize], connections: u32) {
        let default = self.facade(Offload::builder(), connections);
        let one_by_one = self.facade(Offload::builder().max_batch(1), connections);
        for &callers in callers {
            let goal = match (callers, verb) {
                (64, Verb::Get) => ">= 3",
                (64, Verb::Set) => ">= 6",
                (256, Verb::Get) => ">= 6",
                (256, Verb::Set) => ">= 15",
                _ => ">= 1",
            };
            let name = format!(
                "{verb:?} per second, {callers} callers on {connections}, default / max_batch(1)"
            );
            let rate = |store| self.load(store, verb, callers).rate();
            Ratio::of_figures(self.turns, || rate(&default), || rate(&one_by_one))
                .print(&name, goal);
        }
    }

    fn facade(&self, options: OffloadBuilder, connections: u32) -> Offload<PostgresStore> {
        options.build(self.bench.store(connections))
    }

    fn load(&self, facade: &Offload<PostgresStore>, verb: Verb, callers: usize) -> Load {
        let caller = |caller| self.bench.async_caller(facade, verb, caller);
        load::tasks(&self.runtime, callers, Length::Time(self.length), caller)
    }
}
