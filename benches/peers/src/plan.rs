//! The options of the program, and the plan of what to measure.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

pub(crate) use crate::points::{Kind, Point, Verb};
use crate::{
    callers::WARM_UP,
    costs, peer,
    points::{self, Lists},
    renewals,
    rtt::Rtt,
};

/// The number of connections of each peer.
pub(crate) const CONNECTIONS: usize = 8;

/// Compares session-postgres with other ways to keep sessions.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// A short run: two verbs, small values, fewer callers and peers, three rounds of 0.1 seconds. Takes less than two
    /// minutes.
    #[arg(long)]
    quick: bool,
    /// The number of rounds. Each round measures all peers at all points.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The length of a measurement in seconds [default: 0.3; quick: 0.1].
    #[arg(long)]
    seconds: Option<f64>,
    /// The number of sessions in each table.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// The lengths of the network's round trips in milliseconds [default: 0.5,2,0; quick: 0.5,0]. If this or one of
    /// the three following options is set, all combinations are measured; without them, fewer.
    #[arg(long, value_delimiter = ',')]
    rtt: Option<Vec<Rtt>>,
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
    /// Add a variant of session-postgres for each of these fixed numbers of workers.
    #[arg(long, value_delimiter = ',', default_values_t = DEFAULT_WORKERS)]
    workers: Vec<usize>,
    /// Add sharded stores with one server and with three.
    #[arg(long)]
    sharded: bool,
    /// The directory for the results [default: benches/peers/results; for a part of the points or peers, its
    /// subdirectory `part`].
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const DEFAULT_WORKERS: [usize; 1] = [2];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the process of a peer, which reads requests from stdin.
    #[command(hide = true)]
    Serve { peer: String, url: String },
    /// Run a proxy that makes round trips to these ports longer.
    #[command(hide = true)]
    Proxy { rtt: Rtt, targets: Vec<u16> },
    /// Measure what it costs to keep visitors logged in.
    Renewals(renewals::Options),
    /// Measure what a statement and a call cost the program and the server.
    Costs(costs::Options),
    /// Draw the tables and charts of a run again, from the results.json in this directory.
    Draw { dir: PathBuf },
}

#[derive(Debug)]
pub(crate) struct Plan {
    /// Sorted by the size of the values and the length of the round trip.
    pub(crate) points: Vec<Point>,
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    pub(crate) sessions: usize,
    /// In the order of the tables.
    pub(crate) peers: Vec<String>,
    pub(crate) out: PathBuf,
}

impl Plan {
    pub(crate) fn rtts(&self) -> Vec<Rtt> {
        let mut rtts: Vec<_> = self.points.iter().map(|point| point.kind.rtt).collect();
        rtts.sort_by_key(|rtt| rtt.rank());
        rtts.dedup();
        rtts
    }

    /// Returns the points, by the size of the values and the length of the round trip.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[Point]> {
        let group = |point: &Point| (point.kind.value_bytes, point.kind.rtt);
        self.points.chunk_by(move |a, b| group(a) == group(b))
    }

    /// Estimates how long the run takes.
    pub(crate) fn estimate(&self) -> Duration {
        let peers = self.peers.len() as u32;
        let rounds = peers * self.rounds as u32;
        let measurement = self.length.mul_f64(1.0 + WARM_UP) + MEASUREMENT;
        let sessions = self.sessions as f64 / 1e5;
        let sizes = self
            .points
            .chunk_by(|a, b| a.kind.value_bytes == b.kind.value_bytes);
        measurement * rounds * self.points.len() as u32
            + PREPARE.mul_f64(sessions) * rounds * self.groups().count() as u32
            + FILL.mul_f64(sessions) * peers * sizes.count() as u32
            + START
    }
}

/// How long a measurement takes in addition to its calls.
const MEASUREMENT: Duration = Duration::from_millis(40);

/// How long it takes, with 100,000 sessions, to prepare the table of a peer for a group of points.
const PREPARE: Duration = Duration::from_millis(350);

/// How long it takes to fill the table of a peer with 100,000 sessions.
const FILL: Duration = Duration::from_millis(1_000);

/// How long it takes to start the servers and to check the proxies.
const START: Duration = Duration::from_secs(8);

impl Options {
    pub(crate) fn plan(&self) -> Plan {
        let has_lists = self.rtt.is_some()
            || self.verbs.is_some()
            || self.callers.is_some()
            || self.bytes.is_some();
        let mut points = if self.quick {
            points::quick()
        } else {
            points::whole()
        };
        if has_lists {
            // The lists that are not set are those of the run without options.
            let rtts = distinct(&points, |point| point.kind.rtt);
            let verbs = distinct(&points, |point| point.kind.verb);
            let callers = distinct(&points, |point| point.callers);
            let bytes = distinct(&points, |point| point.kind.value_bytes);
            points = Lists {
                rtts: self.rtt.as_ref().unwrap_or(&rtts),
                verbs: self.verbs.as_ref().unwrap_or(&verbs),
                callers: self.callers.as_ref().unwrap_or(&callers),
                bytes: self.bytes.as_ref().unwrap_or(&bytes),
            }
            .points();
        }
        let has_all_peers =
            self.peers.is_none() && self.workers == DEFAULT_WORKERS && !self.sharded;
        let is_whole = !self.quick && !has_lists && has_all_peers;
        let results = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results"));
        let out = if is_whole {
            results
        } else {
            results.join("part")
        };
        let seconds = self.seconds.unwrap_or(if self.quick { 0.1 } else { 0.3 });
        let mut peers = peer::all(&self.workers, self.sharded);
        if let Some(parts) = &self.peers {
            peers.retain(|peer| parts.iter().any(|part| peer.contains(part)));
        } else if self.quick {
            peers.retain(|peer| ![peer::UNCHECKED, peer::PGBENCH].contains(&peer.as_str()));
        }
        Plan {
            points,
            rounds: self.rounds,
            length: Duration::from_secs_f64(seconds),
            sessions: self.sessions,
            peers,
            out: self.out.clone().unwrap_or(out),
        }
    }
}

/// Returns the values in the order of their first points.
fn distinct<T: PartialEq>(points: &[Point], value: impl Fn(&Point) -> T) -> Vec<T> {
    let mut values = Vec::new();
    for value in points.iter().map(value) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}
