//! Ratios of the facade's speed, each measured side by side in one run. `cargo bench --bench
//! offload_ratios`

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use session_postgres::{Offload, OffloadBuilder, PostgresStore, Store};
use tokio::runtime::Runtime;

use support::{
    Bench, get_by_hand,
    load::{self, Length, Load},
    prepare_get,
    ratio::{Ratio, time, trying},
    verbs::{AsyncCall, VERBS, Verb, place},
};

/// How many connections everybody has.
const CONNECTIONS: u32 = 8;

struct Bars {
    bench: Bench,
    runtime: Runtime,
    turns: usize,
    length: Duration,
}

impl Bars {
    fn facade(&self, options: OffloadBuilder, connections: u32) -> Offload<PostgresStore> {
        options.build(self.bench.store(connections))
    }

    /// So many tasks that call the facade.
    fn load(&self, store: &Offload<PostgresStore>, verb: Verb, callers: usize) -> Load {
        let caller = |number| self.bench.async_caller(store, verb, number);
        load::tasks(&self.runtime, callers, Length::Time(self.length), caller)
    }

    /// So many plain threads that get, each with a connection of its own and a prepared statement.
    fn plain(&self, threads: usize) -> Load {
        load::threads(threads, Length::Time(self.length), |number| {
            let mut client = self.bench.client();
            let statement = prepare_get(&mut client);
            move |call| {
                let key = &self.bench.keys[place(self.bench.keys.len(), number, call)];
                get_by_hand(&mut client, &statement, key);
            }
        })
    }
}

fn main() {
    let bench = Bench::new();
    let (turns, length) = if trying() {
        (1, Duration::from_millis(10))
    } else {
        (21, Duration::from_millis(100))
    };
    let bars = Bars {
        runtime: Runtime::new().unwrap(),
        bench,
        turns,
        length,
    };
    Ratio::print_head();
    bars.one_caller();
    bars.plain_threads();
    // Last, for it clears sessions.
    bars.batches();
}

impl Bars {
    /// What the facade adds to a call, held against a bare thread hop.
    fn one_caller(&self) {
        let (turns, calls) = if trying() { (1, 1) } else { (101, 200) };
        let blocking = self.bench.store(CONNECTIONS);
        let store = self.facade(Offload::builder(), CONNECTIONS);
        // On a worker, as a caller's task is.
        let on_worker = |call: AsyncCall| {
            let run = async move {
                let begun = Instant::now();
                for number in 0..calls {
                    call(number).await;
                }
                begun.elapsed()
            };
            self.runtime.block_on(self.runtime.spawn(run)).unwrap()
        };
        let blocking_get = || {
            let mut call = 0..;
            time(calls, || {
                let key = &self.bench.keys[place(self.bench.keys.len(), 0, call.next().unwrap())];
                drop(blocking.get(key).unwrap());
            })
        };
        let offloaded_get = || on_worker(self.bench.async_caller(&store, Verb::Get, 0));
        let hop = || {
            on_worker(Box::new(|_| {
                Box::pin(async { tokio::task::spawn_blocking(|| ()).await.unwrap() })
            }))
        };
        let mut added = Vec::new();
        let warm_up = 1;
        for turn in 0..turns + warm_up {
            let [offloaded, blocking, hop] = [offloaded_get(), blocking_get(), hop()];
            if turn >= warm_up {
                let added_by_facade = offloaded.as_secs_f64() - blocking.as_secs_f64();
                added.push(added_by_facade / hop.as_secs_f64());
            }
        }
        Ratio::from(added).print(
            "time, (Offload::get - Store::get) / spawn_blocking",
            "<= 1.5",
        );
    }

    /// Calls that share a trip, held against the original's one thread hop a call, which on many
    /// connections share their commits.
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
            let bar = match (callers, verb) {
                (64, Verb::Get) => ">= 3",
                (64, Verb::Set) => ">= 6",
                (256, Verb::Get) => ">= 6",
                (256, Verb::Set) => ">= 15",
                _ => ">= 1",
            };
            let name = format!(
                "{verb:?} a second, {callers} callers on {connections}, default / max_batch(1)"
            );
            let rate = |store| self.load(store, verb, callers).rate();
            Ratio::of_figures(self.turns, || rate(&default), || rate(&one_by_one))
                .print(&name, bar);
        }
    }

    /// The facade, held against threads that block.
    fn plain_threads(&self) {
        let store = self.facade(Offload::builder(), CONNECTIONS);
        for (callers, bar) in [
            (1, ""),
            (4, ">= 1"),
            (16, ">= 1"),
            (64, ""),
            (256, ">= 2.5"),
        ] {
            let threads = callers.min(CONNECTIONS as usize);
            let name = format!("Get a second, {callers} callers / {threads} plain threads");
            let facade = || self.load(&store, Verb::Get, callers).rate();
            Ratio::of_figures(self.turns, facade, || self.plain(threads).rate()).print(&name, bar);
        }
        let callers = 256;
        let blocking = self.bench.store(CONNECTIONS);
        let threads = || {
            load::threads(callers, Length::Time(self.length), |number| {
                let (blocking, keys) = (&blocking, &self.bench.keys);
                move |call| {
                    drop(
                        blocking
                            .get(&keys[place(keys.len(), number, call)])
                            .unwrap(),
                    )
                }
            })
        };
        Ratio::of_figures(
            self.turns,
            || self.load(&store, Verb::Get, callers).p99().as_secs_f64(),
            || threads().p99().as_secs_f64(),
        )
        .print(
            "p99 of Get, 256 callers / 256 threads on 8 connections",
            "< 1",
        );
    }
}
