//! Ratios of the blocking store: of reads to plain statements, and of batches to single calls.
//!
//! `cargo bench --bench store_ratios`. For times, run `cargo bench --bench store`.

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use session_postgres::{Key, PostgresStore, Store, postgres::Client};

use support::{
    Bench,
    ratio::{Ratio, is_test, time},
    verb::Verb,
};

struct Ratios {
    bench: Bench,
    single: PostgresStore,
    turns: usize,
    /// The number of single calls in a turn.
    calls: usize,
}

fn main() {
    let (turns, calls) = if is_test() { (1, 1) } else { (101, 200) };
    let bench = Bench::new();
    let ratios = Ratios {
        single: bench.single(),
        bench,
        turns,
        calls,
    };
    Ratio::print_head();
    ratios.plain_get();
    ratios.connections();
    ratios.get_many();
    ratios.set_many();
}

impl Ratios {
    fn plain_get(&self) {
        let pooled = self.bench.pooled();
        for (name, store, goal) in [("client", &self.single, "<= 1.15"), ("pool", &pooled, "")] {
            let prepared = store.with_client(|client| Verb::Get.prepare(client));
            let prepared = prepared.unwrap();
            // On the store's own connection, because speed depends on the processor that a connection's server
            // process runs on.
            let plain = || {
                let mut next = self.bench.batches(1);
                let turn = |client: &mut Client| {
                    time(self.calls, || {
                        Verb::Get.execute(client, &prepared, next()[0], &self.bench.value);
                    })
                };
                store.with_client(turn).unwrap()
            };
            Ratio::of_times(self.turns, || self.get(store, self.calls), plain)
                .print(&format!("time of get on a {name} / query_opt"), goal);
        }
    }

    /// Compares TCP connections of the store, which close if the server is silent, with those of the driver. Each
    /// turn opens new ones, because much depends on the processor of their server process.
    fn connections(&self) {
        let get_on_new = |store: PostgresStore| {
            self.get(&store, self.calls);
            self.get(&store, self.calls)
        };
        let by_store = || get_on_new(self.bench.store_by_tcp());
        let by_driver = || get_on_new(self.bench.pooled_by_tcp());
        Ratio::of_times(self.turns, by_store, by_driver).print(
            "time of get by TCP, connected by the store / by the driver",
            "",
        );
    }

    fn get_many(&self) {
        for (count, goal) in [(16, ""), (64, ""), (256, ">= 8"), (1024, "")] {
            let mut next = self.bench.batches(count);
            let many = || time(1, || drop(self.single.get_many(&next())));
            Ratio::of_times(self.turns, || self.get(&self.single, count), many).print(
                &format!("sessions per second, get_many({count}) / get"),
                goal,
            );
        }
    }

    fn set_many(&self) {
        for (count, goal) in [(16, ""), (64, ""), (256, ">= 15"), (1024, "")] {
            let mut next = self.bench.batches(count);
            let many = || self.set_batch(&next());
            Ratio::of_times(self.turns.min(31), || self.set(count), many).print(
                &format!("sessions per second, set_many({count}) / set"),
                goal,
            );
        }
    }

    fn get(&self, store: &PostgresStore, count: usize) -> Duration {
        let mut next = self.bench.batches(1);
        time(count, || drop(store.get(next()[0]).unwrap()))
    }

    fn set(&self, count: usize) -> Duration {
        let mut next = self.bench.batches(1);
        let value = &self.bench.value;
        time(count, || self.single.set(next()[0], value, None).unwrap())
    }

    fn set_batch(&self, keys: &[&Key]) -> Duration {
        let set = || drop(self.single.set_many(&self.bench.sets(keys)));
        time(1, set)
    }
}
