//! The goals of session-postgres, as ratios to other peers. The median of the rounds decides whether a goal is
//! reached.

use std::fmt::Write;

use super::{Results, Spread};
use crate::{
    figures::Figures,
    peer::{OURS, REDIS, REDIS_ALWAYS},
    plan::{Kind, Point, Verb},
    points::{CALLERS, HALF_MS, TWO_MS},
    rtt::Rtt,
};

/// A figure by which peers are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Rate,
    P50,
    P99,
    Cpu,
    Log,
}

impl Figure {
    pub(super) fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Figure::Rate => Some(figures.rate()),
            Figure::P50 => figures.p50,
            Figure::P99 => figures.p99,
            Figure::Cpu => Some(figures.cpu_micros()),
            Figure::Log => figures.log(),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Figure::Rate => "calls a second",
            Figure::P50 => "p50, µs",
            Figure::P99 => "p99, µs",
            Figure::Cpu => "processor time a call, µs",
            Figure::Log => "log a call, bytes",
        }
    }

    /// Compares the ratio of session-postgres to a peer with a goal.
    pub(super) fn reaches(self, ratio: f64, goal: f64) -> bool {
        match self {
            Figure::Rate => ratio >= goal,
            _ => ratio <= goal,
        }
    }
}

/// The goals are for values of this size.
const VALUE_BYTES: usize = 200;

/// The goals for the rate by [`CALLERS`], as ratios to the best asynchronous store in PostgreSQL.
const BEST: [(Verb, Rtt, [f64; CALLERS.len()]); 6] = [
    (Verb::Load, HALF_MS, [0.95, 0.95, 1.8, 7.0, 15.0, 20.0]),
    (Verb::Save, HALF_MS, [0.95, 0.95, 1.8, 7.0, 15.0, 20.0]),
    (Verb::Load, TWO_MS, [0.97, 0.97, 1.9, 7.5, 22.0, 25.0]),
    (Verb::Load, Rtt::NONE, [0.75, 0.75, 1.25, 2.3, 3.5, 4.0]),
    (Verb::Save, Rtt::NONE, [0.95, 0.9, 1.7, 3.8, 7.5, 9.0]),
    (Verb::Mix, Rtt::NONE, [0.75, 0.75, 1.2, 2.0, 3.5, 4.0]),
];

/// The goals for the rate as ratios to a peer.
const NAMED: [(Verb, Rtt, &str, [f64; CALLERS.len()]); 3] = [
    (
        Verb::Load,
        Rtt::NONE,
        REDIS,
        [0.55, 0.4, 0.6, 0.75, 1.0, 1.2],
    ),
    (
        Verb::Save,
        Rtt::NONE,
        REDIS_ALWAYS,
        [0.85, 0.75, 0.75, 0.75, 0.75, 0.9],
    ),
    (Verb::Load, HALF_MS, REDIS, [0.95, 0.95, 0.9, 0.9, 0.9, 1.0]),
];

/// From this number of callers, p99 must not be longer than that of the other asynchronous stores in PostgreSQL.
const P99_FROM: usize = 16;

pub(super) struct Goal {
    name: String,
    figure: Figure,
    limit: f64,
    /// `None` if it was not measured.
    ratio: Option<Spread>,
}

/// The columns of [`Goal::cells`].
pub(super) const COLUMNS: [&str; 5] = ["ratio", "median", "spread", "goal", ""];

const REACHED: &str = "reached";
pub(super) const NOT_REACHED: &str = "not reached";
const NOT_MEASURED: &str = "not measured";

impl Goal {
    /// The goal as a ratio to the peer, or to the best asynchronous store in PostgreSQL.
    fn new(
        results: &Results,
        point: Point,
        (figure, limit): (Figure, f64),
        peer: Option<&str>,
    ) -> Goal {
        let of = |figures: &Figures| figure.of(figures);
        let best = || {
            results.best(&point, of, |a, b| match figure {
                Figure::Rate => a > b,
                _ => a < b,
            })
        };
        let rival = peer.or_else(best);
        let rival_name = match (peer, rival) {
            (Some(peer), _) => peer.to_owned(),
            (None, Some(best)) => format!("best store ({best})"),
            (None, None) => "best store".to_owned(),
        };
        let Point {
            kind: Kind { verb, rtt, .. },
            callers,
        } = point;
        let figure_name = figure.name();
        Goal {
            name: format!("{verb}, {rtt}, {callers} callers: {figure_name} / {rival_name}"),
            figure,
            limit,
            ratio: rival.and_then(|rival| results.ratio([OURS, rival], &point, of)),
        }
    }

    pub(super) fn cells(&self) -> [String; 5] {
        let (median, range) = match &self.ratio {
            Some(ratio) => (format!("{:.2}", ratio.median()), ratio.range()),
            None => Default::default(),
        };
        let sign = match self.figure {
            Figure::Rate => "≥",
            _ => "≤",
        };
        let limit = format!("{sign} {:.2}", self.limit);
        let verdict = self.verdict().to_owned();
        [self.name.clone(), median, range, limit, verdict]
    }

    fn verdict(&self) -> &'static str {
        match &self.ratio {
            None => NOT_MEASURED,
            Some(ratio) if self.figure.reaches(ratio.median(), self.limit) => REACHED,
            Some(_) => NOT_REACHED,
        }
    }
}

pub(super) fn all(results: &Results) -> Vec<Goal> {
    let kind = |verb, rtt| Kind {
        rtt,
        value_bytes: VALUE_BYTES,
        verb,
    };
    let mut goals = Vec::new();
    for (verb, rtt, limits) in BEST {
        for (callers, limit) in CALLERS.into_iter().zip(limits) {
            let point = kind(verb, rtt).with(callers);
            goals.push(Goal::new(results, point, (Figure::Rate, limit), None));
        }
    }
    for (verb, rtt, peer, limits) in NAMED {
        for (callers, limit) in CALLERS.into_iter().zip(limits) {
            let point = kind(verb, rtt).with(callers);
            goals.push(Goal::new(results, point, (Figure::Rate, limit), Some(peer)));
        }
    }
    for (verb, rtt, _) in BEST {
        for callers in CALLERS.into_iter().filter(|&callers| callers >= P99_FROM) {
            let point = kind(verb, rtt).with(callers);
            goals.push(Goal::new(results, point, (Figure::P99, 1.0), None));
        }
    }
    goals
}

/// Says how many goals are reached.
pub(super) fn count(goals: &[Goal]) -> String {
    let of = |verdict| {
        goals
            .iter()
            .filter(|goal| goal.verdict() == verdict)
            .count()
    };
    format!(
        "{} of {} goals are reached, {} are not, {} were not measured",
        of(REACHED),
        goals.len(),
        of(NOT_REACHED),
        of(NOT_MEASURED)
    )
}

/// Returns the goals that were measured as a table for the terminal.
pub(super) fn text(results: &Results) -> String {
    let goals = all(results);
    let rows = goals.iter().map(Goal::cells);
    let rows: Vec<_> = rows.filter(|cells| cells[4] != NOT_MEASURED).collect();
    let widest = rows.iter().map(|[name, ..]| name.chars().count()).max();
    let width = widest.unwrap_or_default();
    let mut text = String::new();
    for [name, median, range, limit, verdict] in
        [COLUMNS.map(str::to_owned)].into_iter().chain(rows)
    {
        let _ = writeln!(
            text,
            "{name:<width$} {median:>7} {range:>16} {limit:>7}  {verdict}"
        );
    }
    let _ = writeln!(text, "{}.", count(&goals));
    text
}
