//! What was set as a goal, and whether it is reached: the median of the ratios of the rounds counts.

use std::fmt::Write;

use super::{Results, Spread};
use crate::{
    measure::Figures,
    peer::{ASYNC_PEERS, DEADPOOL, OURS, PGBENCH, TOWER_SESSIONS},
    plan::{Point, Verb},
};

/// A figure that peers are compared by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Rate,
    P50,
    P99,
    Cpu,
    Wal,
}

impl Figure {
    pub(super) fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Figure::Rate => Some(figures.rate()),
            Figure::P50 => figures.p50,
            Figure::P99 => figures.p99,
            Figure::Cpu => Some(figures.cpu_micros()),
            Figure::Wal => Some(figures.wal()),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Figure::Rate => "calls a second",
            Figure::P50 => "p50, µs",
            Figure::P99 => "p99, µs",
            Figure::Cpu => "processor time a call, µs",
            Figure::Wal => "write-ahead log a call, bytes",
        }
    }

    /// Whether this ratio, ours to theirs, is good.
    pub(super) fn is_won(self, ratio: f64, bar: f64) -> bool {
        match self {
            Figure::Rate => ratio >= bar,
            // Less is better; a bar of 1 is to be beaten.
            _ if bar == 1.0 => ratio < bar,
            _ => ratio <= bar,
        }
    }
}

/// Values are of so many bytes there.
const VALUE_BYTES: usize = 200;

pub(super) struct Bar {
    pub(super) what: String,
    pub(super) figure: Figure,
    pub(super) bar: f64,
    /// Nothing, where it was not measured.
    pub(super) ratio: Option<Spread>,
}

impl Bar {
    fn new(
        results: &Results,
        verb: Verb,
        callers: usize,
        (figure, bar): (Figure, f64),
        peer: &str,
    ) -> Bar {
        let point = Point {
            value_bytes: VALUE_BYTES,
            verb,
            callers,
        };
        let name = figure.name();
        Bar {
            what: format!("{verb}, {callers} callers: {name} / {peer}"),
            figure,
            bar,
            ratio: results.ratio([OURS, peer], &point, |figures| figure.of(figures)),
        }
    }

    pub(super) fn goal(&self) -> String {
        let sign = match self.figure {
            Figure::Rate => "≥",
            _ if self.bar == 1.0 => "<",
            _ => "≤",
        };
        format!("{sign} {:.2}", self.bar)
    }

    pub(super) fn verdict(&self) -> &'static str {
        match &self.ratio {
            None => "not measured",
            Some(ratio) if self.figure.is_won(ratio.median(), self.bar) => "reached",
            Some(_) => "not reached",
        }
    }
}

pub(super) fn all(results: &Results) -> Vec<Bar> {
    let bar = |verb, callers, goal, peer: &str| Bar::new(results, verb, callers, goal, peer);
    let rate = |bar| (Figure::Rate, bar);
    let mut bars = Vec::new();
    for (callers, least) in [(1, 0.8), (4, 0.9), (16, 1.1), (64, 3.0), (256, 5.0)] {
        bars.push(bar(Verb::Load, callers, rate(least), DEADPOOL));
    }
    bars.push(bar(Verb::Load, 256, rate(8.0), TOWER_SESSIONS));
    bars.push(bar(Verb::Load, 256, rate(2.5), PGBENCH));
    for (verb, callers, least) in [
        (Verb::Save, 64, 6.0),
        (Verb::Save, 256, 15.0),
        (Verb::Mix, 256, 4.0),
    ] {
        for peer in ASYNC_PEERS {
            bars.push(bar(verb, callers, rate(least), peer));
        }
    }
    for verb in [Verb::Load, Verb::Save] {
        for figure in [(Figure::Cpu, 1.0 / 3.0), (Figure::P99, 1.0)] {
            for peer in ASYNC_PEERS {
                bars.push(bar(verb, 256, figure, peer));
            }
        }
    }
    bars
}

pub(super) fn text(results: &Results) -> String {
    let bars = all(results);
    let widest = bars.iter().map(|bar| bar.what.chars().count()).max();
    let width = widest.unwrap_or_default();
    let mut text = String::new();
    let mut line = |what: &str, median: &str, range: &str, goal: &str, verdict: &str| {
        let _ = writeln!(
            text,
            "{what:<width$} {median:>7} {range:>16} {goal:>7}  {verdict}"
        );
    };
    line("ratio", "median", "spread", "bar", "");
    for bar in &bars {
        let (median, range) = match &bar.ratio {
            Some(ratio) => (format!("{:.2}", ratio.median()), ratio.range()),
            None => Default::default(),
        };
        line(&bar.what, &median, &range, &bar.goal(), bar.verdict());
    }
    text
}
