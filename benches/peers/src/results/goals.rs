//! The goals of session-postgres, as ratios to other peers. The median of the rounds decides whether a goal is
//! reached.

use std::fmt::Write;

use super::{Results, Spread};
use crate::{
    figures::Figures,
    peer::{ASYNC_PEERS, DEADPOOL, OURS, PGBENCH, TOWER_SESSIONS},
    plan::{Point, Verb},
};

/// A figure by which peers are compared.
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

    /// Compares the ratio of session-postgres to a peer with a goal. If less is better, a ratio of 1 does not
    /// reach a goal of 1.
    pub(super) fn reaches(self, ratio: f64, goal: f64) -> bool {
        match self {
            Figure::Rate => ratio >= goal,
            _ if goal == 1.0 => ratio < goal,
            _ => ratio <= goal,
        }
    }
}

/// The goals are for values of this size.
const VALUE_BYTES: usize = 200;

pub(super) struct Goal {
    name: String,
    figure: Figure,
    limit: f64,
    /// `None` if it was not measured.
    ratio: Option<Spread>,
}

/// The columns of [`Goal::cells`].
pub(super) const COLUMNS: [&str; 5] = ["ratio", "median", "spread", "goal", ""];

impl Goal {
    fn new(
        results: &Results,
        verb: Verb,
        callers: usize,
        (figure, limit): (Figure, f64),
        peer: &str,
    ) -> Goal {
        let point = Point {
            value_bytes: VALUE_BYTES,
            verb,
            callers,
        };
        let name = figure.name();
        Goal {
            name: format!("{verb}, {callers} callers: {name} / {peer}"),
            figure,
            limit,
            ratio: results.ratio([OURS, peer], &point, |figures| figure.of(figures)),
        }
    }

    pub(super) fn cells(&self) -> [String; 5] {
        let (median, range) = match &self.ratio {
            Some(ratio) => (format!("{:.2}", ratio.median()), ratio.range()),
            None => Default::default(),
        };
        let verdict = self.verdict().to_owned();
        [self.name.clone(), median, range, self.limit(), verdict]
    }

    fn limit(&self) -> String {
        let sign = match self.figure {
            Figure::Rate => "≥",
            _ if self.limit == 1.0 => "<",
            _ => "≤",
        };
        format!("{sign} {:.2}", self.limit)
    }

    fn verdict(&self) -> &'static str {
        match &self.ratio {
            None => "not measured",
            Some(ratio) if self.figure.reaches(ratio.median(), self.limit) => "reached",
            Some(_) => "not reached",
        }
    }
}

pub(super) fn all(results: &Results) -> Vec<Goal> {
    let goal = |verb, callers, limit, peer: &str| Goal::new(results, verb, callers, limit, peer);
    let rate = |limit| (Figure::Rate, limit);
    let mut goals = Vec::new();
    for (callers, least) in [(1, 0.8), (4, 0.9), (16, 1.1), (64, 3.0), (256, 5.0)] {
        goals.push(goal(Verb::Load, callers, rate(least), DEADPOOL));
    }
    goals.push(goal(Verb::Load, 256, rate(8.0), TOWER_SESSIONS));
    goals.push(goal(Verb::Load, 256, rate(2.5), PGBENCH));
    for (verb, callers, least) in [
        (Verb::Save, 64, 6.0),
        (Verb::Save, 256, 15.0),
        (Verb::Mix, 256, 4.0),
    ] {
        for peer in ASYNC_PEERS {
            goals.push(goal(verb, callers, rate(least), peer));
        }
    }
    for verb in [Verb::Load, Verb::Save] {
        for limit in [(Figure::Cpu, 1.0 / 3.0), (Figure::P99, 1.0)] {
            for peer in ASYNC_PEERS {
                goals.push(goal(verb, 256, limit, peer));
            }
        }
    }
    goals
}

/// Returns the goals as a table for the terminal.
pub(super) fn text(results: &Results) -> String {
    let goals = all(results);
    let widest = goals.iter().map(|goal| goal.name.chars().count()).max();
    let width = widest.unwrap_or_default();
    let mut text = String::new();
    let rows = goals.iter().map(Goal::cells);
    for [name, median, range, limit, verdict] in
        [COLUMNS.map(str::to_owned)].into_iter().chain(rows)
    {
        let _ = writeln!(
            text,
            "{name:<width$} {median:>7} {range:>16} {limit:>7}  {verdict}"
        );
    }
    text
}
