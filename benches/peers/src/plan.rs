//! The options of the program, and the plan of what to measure.

use std::{fmt, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::renewals;

/// The number of connections of each peer.
pub(crate) const CONNECTIONS: usize = 8;

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

/// One measurement of each peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) value_bytes: usize,
    pub(crate) verb: Verb,
    pub(crate) callers: usize,
}

/// Compares session-postgres with other ways to keep sessions in PostgreSQL.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// A short run: three verbs, small values, three rounds of 0.1 seconds. Takes less than two minutes.
    #[arg(long)]
    quick: bool,
    /// The number of rounds. Each round measures all peers at all points [default: 5; quick: 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// The length of a measurement in seconds [default: 0.3; quick: 0.1].
    #[arg(long)]
    seconds: Option<f64>,
    /// The number of sessions in each table.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Measure only these verbs.
    #[arg(long, value_delimiter = ',')]
    verbs: Option<Vec<Verb>>,
    /// Measure only these numbers of concurrent callers.
    #[arg(long, value_delimiter = ',')]
    callers: Option<Vec<usize>>,
    /// Measure only values of these sizes in bytes [default: 200,4096; quick: 200].
    #[arg(long, value_delimiter = ',')]
    bytes: Option<Vec<usize>>,
    /// Measure only peers whose names contain one of these texts.
    #[arg(long, value_delimiter = ',')]
    peers: Option<Vec<String>>,
    /// The directory for the results [default: benches/peers/results; for a part of the points or peers, its
    /// subdirectory `part`].
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the process of a peer, which reads requests from stdin.
    #[command(hide = true)]
    Serve { peer: String, url: String },
    /// Measure what it costs to keep visitors logged in.
    Renewals(renewals::Options),
}

#[derive(Debug)]
pub(crate) struct Plan {
    /// Sorted by the size of the values.
    pub(crate) points: Vec<Point>,
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    pub(crate) sessions: usize,
    /// Parts of the names of the peers to measure, if not all.
    pub(crate) peers: Option<Vec<String>>,
    pub(crate) out: PathBuf,
}

impl Plan {
    pub(crate) fn includes(&self, peer: &str) -> bool {
        let parts = self.peers.as_ref();
        parts.is_none_or(|parts| parts.iter().any(|part| peer.contains(part)))
    }
}

impl Options {
    pub(crate) fn plan(&self) -> Plan {
        let (verbs, callers, bytes): (&[_], &[_], &[_]) = if self.quick {
            (
                &[Verb::Load, Verb::Save, Verb::Mix],
                &[1, 4, 16, 64, 256],
                &[200],
            )
        } else {
            (
                Verb::value_variants(),
                &[1, 4, 16, 64, 256, 1024],
                &[200, 4096],
            )
        };
        let is_whole = !self.quick
            && self.verbs.is_none()
            && self.callers.is_none()
            && self.bytes.is_none()
            && self.peers.is_none();
        let verbs = self.verbs.as_deref().unwrap_or(verbs);
        let callers = self.callers.as_deref().unwrap_or(callers);
        let bytes = self.bytes.as_deref().unwrap_or(bytes);
        let mut points = Vec::new();
        for &value_bytes in bytes {
            for &verb in verbs {
                // A run of all verbs renews only small values, to save time.
                if verb == Verb::Renew && self.verbs.is_none() && value_bytes != bytes[0] {
                    continue;
                }
                points.extend(callers.iter().map(|&callers| Point {
                    value_bytes,
                    verb,
                    callers,
                }));
            }
        }
        let results = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results"));
        let out = if is_whole {
            results
        } else {
            results.join("part")
        };
        let seconds = self.seconds.unwrap_or(if self.quick { 0.1 } else { 0.3 });
        Plan {
            points,
            rounds: self.rounds.unwrap_or(if self.quick { 3 } else { 5 }),
            length: Duration::from_secs_f64(seconds),
            sessions: self.sessions,
            peers: self.peers.clone(),
            out: self.out.clone().unwrap_or(out),
        }
    }
}
