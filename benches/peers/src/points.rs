//! What is measured at each point, and which points a run has.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::rtt::Rtt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verb {
    Load,
    Save,
    /// A load that also keeps the visitor logged in.
    Renew,
    Create,
    Delete,
    /// 90 % loads, 8 % saves, 1 % creates, 1 % deletes. Some sessions are used much more often than others.
    Mix,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verb::Load => "load",
            Verb::Save => "save",
            Verb::Renew => "renew",
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::Mix => "mix",
        })
    }
}

/// The points that differ only in their numbers of callers. Each has its own tables and charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Kind {
    #[serde(rename = "rtt_micros")]
    pub(crate) rtt: Rtt,
    pub(crate) value_bytes: usize,
    pub(crate) verb: Verb,
}

impl Kind {
    pub(crate) fn with(self, callers: usize) -> Point {
        Point {
            kind: self,
            callers,
        }
    }
}

/// One measurement of each peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Point {
    #[serde(flatten)]
    pub(crate) kind: Kind,
    pub(crate) callers: usize,
}

/// The points of a run are all combinations of these.
pub(crate) struct Lists<'a> {
    pub(crate) bytes: &'a [usize],
    pub(crate) rtts: &'a [Rtt],
    pub(crate) verbs: &'a [Verb],
    pub(crate) callers: &'a [usize],
}

impl Lists<'_> {
    /// Sorted by the size of the values and the length of the round trip.
    pub(crate) fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for &value_bytes in self.bytes {
            for &rtt in self.rtts {
                for &verb in self.verbs {
                    let kind = Kind {
                        rtt,
                        value_bytes,
                        verb,
                    };
                    points.extend(self.callers.iter().map(|&callers| kind.with(callers)));
                }
            }
        }
        points
    }
}

pub(crate) const HALF_MS: Rtt = Rtt::of_micros(500);
pub(crate) const TWO_MS: Rtt = Rtt::of_micros(2_000);

pub(crate) const CALLERS: [usize; 6] = [1, 4, 16, 64, 256, 1024];

/// The points of a run without options. All combinations would take hours.
pub(crate) fn whole() -> Vec<Point> {
    let small = Lists {
        bytes: &[200],
        rtts: &[HALF_MS],
        verbs: Verb::value_variants(),
        callers: &CALLERS,
    };
    let other_rtts = Lists {
        rtts: &[TWO_MS, Rtt::NONE],
        verbs: &[Verb::Load, Verb::Save, Verb::Mix],
        ..small
    };
    let large = Lists {
        bytes: &[4096],
        rtts: &[HALF_MS, Rtt::NONE],
        verbs: &[Verb::Load, Verb::Save],
        callers: &[1, 16, 256],
    };
    [small, other_rtts, large]
        .iter()
        .flat_map(Lists::points)
        .collect()
}

/// The points of a short run.
pub(crate) fn quick() -> Vec<Point> {
    Lists {
        bytes: &[200],
        rtts: &[HALF_MS, Rtt::NONE],
        verbs: &[Verb::Load, Verb::Save],
        callers: &[1, 16, 256],
    }
    .points()
}
