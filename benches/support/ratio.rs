//! The ratio of two figures. They are measured in turns, so that changes of the machine's speed affect both.

use std::time::{Duration, Instant};

/// Returns whether cargo runs the benchmark as a test, so that one short turn is enough.
pub(crate) fn is_test() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

/// Returns how long the calls take.
pub(crate) fn time(calls: usize, mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed()
}

/// The ratios of all turns, in ascending order.
pub(crate) struct Ratio(Vec<f64>);

impl Ratio {
    pub(crate) fn of_times(
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
        // Warms up: prepares statements and fills caches.
        a();
        b();
        let turn = |turn: usize| {
            // Each figure is measured first in every other turn.
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

    fn quantile(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part).round() as usize]
    }

    pub(crate) fn print_head() {
        println!(
            "{:<62} {:>7} {:>16} {:>9}",
            "ratio", "median", "10% to 90%", "goal"
        );
    }

    pub(crate) fn print(&self, name: &str, goal: &str) {
        let spread = format!("{:.2} to {:.2}", self.quantile(0.1), self.quantile(0.9));
        let median = self.quantile(0.5);
        println!("{name:<62} {median:>7.2} {spread:>16} {goal:>9}");
    }
}

impl From<Vec<f64>> for Ratio {
    fn from(mut ratios: Vec<f64>) -> Ratio {
        ratios.sort_by(f64::total_cmp);
        Ratio(ratios)
    }
}
