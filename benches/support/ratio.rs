//! The ratio of two figures, measured in turns, so that a machine whose speed drifts changes both.

use std::time::{Duration, Instant};

/// Whether the benchmarks are only to be tried: cargo says so by this argument.
pub(crate) fn trying() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

/// How long so many calls take.
pub(crate) fn time(calls: usize, mut call: impl FnMut()) -> Duration {
    let begun = Instant::now();
    (0..calls).for_each(|_| call());
    begun.elapsed()
}

/// The ratio of two figures, turn by turn, in ascending order.
pub(crate) struct Ratio(Vec<f64>);

impl Ratio {
    /// The ratio of two times.
    pub(crate) fn of(
        turns: usize,
        mut a: impl FnMut() -> Duration,
        mut b: impl FnMut() -> Duration,
    ) -> Ratio {
        Ratio::of_figures(turns, || a().as_secs_f64(), || b().as_secs_f64())
    }

    pub(crate) fn of_figures(
        turns: usize,
        mut a: impl FnMut() -> f64,
        mut b: impl FnMut() -> f64,
    ) -> Ratio {
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
            a / b
        };
        Ratio::from((0..turns).map(turn).collect::<Vec<_>>())
    }

    fn at(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part).round() as usize]
    }

    pub(crate) fn print_head() {
        println!(
            "{:<62} {:>7} {:>16} {:>9}",
            "ratio", "median", "10% to 90%", "bar"
        );
    }

    pub(crate) fn print(&self, name: &str, bar: &str) {
        let spread = format!("{:.2} to {:.2}", self.at(0.1), self.at(0.9));
        println!("{name:<62} {:>7.2} {spread:>16} {bar:>9}", self.at(0.5));
    }
}

impl From<Vec<f64>> for Ratio {
    fn from(mut ratios: Vec<f64>) -> Ratio {
        ratios.sort_by(f64::total_cmp);
        Ratio(ratios)
    }
}
