//! Ratios of costs, each measured side by side in one run: the two take turns, so that a machine
//! whose speed drifts slows both. `cargo bench --bench ratios`

#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use session_postgres::Store;

use support::Bench;

fn main() {
    // Cargo says so when the benchmarks are only to be tried.
    let trying = std::env::args().any(|arg| arg == "--test");
    let bench = Bench::new();
    let (single, pooled) = (bench.single(), bench.pooled());
    let turns = if trying { 1 } else { 101 };
    let calls = if trying { 1 } else { 200 };

    println!(
        "{:<52} {:>7} {:>16} {:>12}",
        "ratio", "median", "10% to 90%", "bar"
    );
    let mut raw = bench.raw_get();
    let mut next = bench.batches(1);
    let by_hand = &mut || raw(next()[0]);
    let mut next = bench.batches(1);
    let get = &mut || drop(single.get(next()[0]).unwrap());
    Ratio::of(turns, calls, get, by_hand).print("time of get on a client / query_opt", "<= 1.15");
    let mut next = bench.batches(1);
    let get_pooled = &mut || drop(pooled.get(next()[0]).unwrap());
    Ratio::of(turns, calls, get_pooled, by_hand).print("time of get on a pool / query_opt", "");

    for (count, bar) in [(16, ""), (64, ""), (256, ">= 8"), (1024, "")] {
        let mut next = bench.batches(count);
        let many = &mut || drop(single.get_many(&next()));
        let one_by_one = &mut || (0..count).for_each(|_| get());
        Ratio::of(turns, 1, one_by_one, many)
            .print(&format!("sessions a second, get_many({count}) / get"), bar);
    }
    for (count, bar) in [(16, ""), (64, ""), (256, ">= 15"), (1024, "")] {
        let (mut next, mut next_one) = (bench.batches(count), bench.batches(1));
        let many = &mut || drop(single.set_many(&bench.sets(&next())));
        let one_by_one = &mut || {
            (0..count).for_each(|_| single.set(next_one()[0], &bench.value, None).unwrap());
        };
        Ratio::of(turns.min(31), 1, one_by_one, many)
            .print(&format!("sessions a second, set_many({count}) / set"), bar);
    }
}

/// The ratio of two times, turn by turn, in ascending order.
struct Ratio(Vec<f64>);

impl Ratio {
    /// Times `calls` calls of each in every turn.
    fn of(turns: usize, calls: usize, a: &mut dyn FnMut(), b: &mut dyn FnMut()) -> Ratio {
        let time = |work: &mut dyn FnMut()| -> Duration {
            let begun = Instant::now();
            (0..calls).for_each(|_| work());
            begun.elapsed()
        };
        // Statements are prepared, caches are warm.
        time(a);
        time(b);
        let mut ratios: Vec<f64> = (0..turns)
            .map(|turn| {
                // Who goes first changes with each turn.
                let (a, b) = if turn % 2 == 0 {
                    let a = time(a);
                    (a, time(b))
                } else {
                    let b = time(b);
                    (time(a), b)
                };
                a.as_secs_f64() / b.as_secs_f64()
            })
            .collect();
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
