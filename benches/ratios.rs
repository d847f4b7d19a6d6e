//! Ratios of costs, each measured side by side in one run: the two take turns, so that a machine
//! whose speed drifts slows both. `cargo bench --bench ratios`

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use session_postgres::{PostgresStore, Store, postgres::Client};

use support::{Bench, get_by_hand, prepare_get};

fn main() {
    // Cargo says so when the benchmarks are only to be tried.
    let trying = std::env::args().any(|arg| arg == "--test");
    let turns = if trying { 1 } else { 101 };
    let calls = if trying { 1 } else { 200 };
    let bench = Bench::new();
    let (single, pooled) = (bench.single(), bench.pooled());
    let get = |store: &PostgresStore, count: usize| {
        let mut next = bench.batches(1);
        time(count, || drop(store.get(next()[0]).unwrap()))
    };
    let set = |count: usize| {
        let mut next = bench.batches(1);
        time(count, || single.set(next()[0], &bench.value, None).unwrap())
    };

    println!(
        "{:<52} {:>7} {:>16} {:>12}",
        "ratio", "median", "10% to 90%", "bar"
    );
    for (name, store, bar) in [("client", &single, "<= 1.15"), ("pool", &pooled, "")] {
        let statement = store.with_client(prepare_get).unwrap();
        // On the store's own connection: another's server process may have a better or worse place.
        let by_hand = || {
            let mut next = bench.batches(1);
            let turn =
                |client: &mut Client| time(calls, || get_by_hand(client, &statement, next()[0]));
            store.with_client(turn).unwrap()
        };
        Ratio::of(turns, || get(store, calls), by_hand)
            .print(&format!("time of get on a {name} / query_opt"), bar);
    }
    for (count, bar) in [(16, ""), (64, ""), (256, ">= 8"), (1024, "")] {
        let mut next = bench.batches(count);
        let many = || time(1, || drop(single.get_many(&next())));
        Ratio::of(turns, || get(&single, count), many)
            .print(&format!("sessions a second, get_many({count}) / get"), bar);
    }
    for (count, bar) in [(16, ""), (64, ""), (256, ">= 15"), (1024, "")] {
        let mut next = bench.batches(count);
        let many = || time(1, || drop(single.set_many(&bench.sets(&next()))));
        Ratio::of(turns.min(31), || set(count), many)
            .print(&format!("sessions a second, set_many({count}) / set"), bar);
    }
}

/// How long so many calls take.
fn time(calls: usize, mut call: impl FnMut()) -> Duration {
    let begun = Instant::now();
    (0..calls).for_each(|_| call());
    begun.elapsed()
}

/// The ratio of two times, turn by turn, in ascending order.
struct Ratio(Vec<f64>);

impl Ratio {
    fn of(turns: usize, mut a: impl FnMut() -> Duration, mut b: impl FnMut() -> Duration) -> Ratio {
        // Statements get prepared, caches warm.
        a();
        b();
        let turn = |turn: usize| {
            // Who goes first changes with each turn.
            let (a, b) = if turn % 2 == 0 {
                let a = a();
                (a, b())
            } else {
                let b = b();
                (a(), b)
            };
            a.as_secs_f64() / b.as_secs_f64()
        };
        let mut ratios: Vec<f64> = (0..turns).map(turn).collect();
        ratios.sort_by(f64::total_cmp);
        Ratio(ratios)
    }

    fn at(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part).round() as usize]
    }

    fn print(&self, name: &str, bar: &str) {
        let spread = format!("{:.2} to {:.2}", self.at(0.1), self.at(0.9));
        println!("{name:<52} {:>7.2} {spread:>16} {bar:>12}", self.at(0.5));
    }
}
