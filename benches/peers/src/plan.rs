//! What is measured.

use std::{fmt, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// How many connections everybody has.
pub(crate) const CONNECTIONS: usize = 8;

/// What a caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verb {
    Load,
    Save,
    Create,
    Delete,
    /// 90 % loads, 8 % saves, 1 % creates, 1 % deletes; some sessions far more often than others.
    Mix,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verb::Load => "load",
            Verb::Save => "save",
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::Mix => "mix",
        })
    }
}

/// What is measured in one go: everybody's sessions of one size, one verb, so many callers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) value_bytes: usize,
    pub(crate) verb: Verb,
    pub(crate) callers: usize,
}

/// session-postgres side by side with what else keeps sessions in PostgreSQL.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Short: three verbs, small values, three rounds of 0.1 seconds; under two minutes.
    #[arg(long)]
    quick: bool,
    /// Rounds, in each of which every peer has its turn at every point [default: 5; quick: 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// How long a point is measured in a round [default: 0.3; quick: 0.1].
    #[arg(long)]
    seconds: Option<f64>,
    /// How many sessions each table holds.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Only what these verbs do.
    #[arg(long, value_delimiter = ',')]
    verbs: Option<Vec<Verb>>,
    /// Only so many callers at once.
    #[arg(long, value_delimiter = ',')]
    callers: Option<Vec<usize>>,
    /// Only values of so many bytes: 200, 4096.
    #[arg(long, value_delimiter = ',')]
    bytes: Option<Vec<usize>>,
    /// Only peers whose names have one of these in them.
    #[arg(long, value_delimiter = ',')]
    peers: Option<Vec<String>>,
    /// The folder for the results [default: benches/peers/results; with other than the default points
    /// its subfolder `part`].
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Is one of the peers, and takes orders on stdin.
    #[command(hide = true)]
    Serve { peer: String, url: String },
}

/// All that is measured.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Those of one size follow each other.
    pub(crate) points: Vec<Point>,
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    pub(crate) sessions: usize,
    /// Parts of the names of those that take part, if not all do.
    pub(crate) peers: Option<Vec<String>>,
    pub(crate) out: PathBuf,
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
        let mut points = Vec::new();
        for &value_bytes in self.bytes.as_deref().unwrap_or(bytes) {
            for &verb in verbs {
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
