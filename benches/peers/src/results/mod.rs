//! All figures of a run. They are written as JSON, as tables and as charts, and compared with the goals.

mod chart;
mod goals;
mod number;
mod spread;
mod table;

use std::{collections::BTreeSet, env, fs, path::Path, thread};

use anyhow::{Context, Result};
use procfs::{Current, LoadAverage, Meminfo};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub(crate) use self::{number::Short, spread::Spread};
use crate::{
    figures::Figures,
    peer::ASYNC_PEERS,
    plan::{CONNECTIONS, Kind, Plan, Point},
    proxy::Accuracy,
    redis,
};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    command: String,
    machine: Machine,
    /// How much longer the proxies make a round trip.
    proxies: Vec<Accuracy>,
    connections: usize,
    sessions: usize,
    rounds: usize,
    seconds: f64,
    /// In the order of the tables.
    peers: Vec<String>,
    series: Vec<Series>,
}

/// The machine and the time of the run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    date: String,
    processor: String,
    processors: usize,
    memory_gib: f64,
    system: String,
    postgresql: String,
    redis: Option<String>,
    /// The load average of the minute before the run.
    load_before: f32,
    /// The load average of the last 15 minutes of the run.
    load_after: f32,
}

/// The figures of a peer at a point, round by round.
#[derive(Debug, Serialize, Deserialize)]
struct Series {
    peer: String,
    #[serde(flatten)]
    point: Point,
    rounds: Vec<Figures>,
}

impl Machine {
    pub(crate) fn read(postgresql: &str) -> Result<Machine> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let processor = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown", |(_, name)| name);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Machine {
            date: OffsetDateTime::now_utc().date().to_string(),
            processor: processor.to_owned(),
            processors: thread::available_parallelism()?.get(),
            memory_gib: Meminfo::current()?.mem_total as f64 / f64::from(1 << 30),
            system: format!("Linux {}", kernel.trim()),
            postgresql: postgresql.to_owned(),
            redis: redis::version(),
            load_before: LoadAverage::current()?.one,
            load_after: 0.0,
        })
    }
}

impl Results {
    pub(crate) fn new(plan: &Plan, machine: Machine, proxies: Vec<Accuracy>) -> Results {
        let arguments: Vec<_> = env::args().skip(1).collect();
        let mut command = "tests/with-postgres cargo run --release -p peers".to_owned();
        if !arguments.is_empty() {
            command = format!("{command} -- {}", arguments.join(" "));
        }
        Results {
            command,
            machine,
            proxies,
            peers: plan.peers.clone(),
            connections: CONNECTIONS,
            sessions: plan.sessions,
            rounds: plan.rounds,
            seconds: plan.length.as_secs_f64(),
            series: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, peer: &str, point: &Point, figures: Figures) {
        let known = self
            .series
            .iter_mut()
            .find(|s| s.peer == peer && s.point == *point);
        match known {
            Some(series) => series.rounds.push(figures),
            None => self.series.push(Series {
                peer: peer.to_owned(),
                point: *point,
                rounds: vec![figures],
            }),
        }
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.machine.load_after = LoadAverage::current()?.fifteen;
        Ok(())
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let failed = || format!("cannot write to {}", dir.display());
        fs::create_dir_all(dir).with_context(failed)?;
        let json = serde_json::to_string(self)?;
        fs::write(dir.join("results.json"), json + "\n").with_context(failed)?;
        fs::write(dir.join("results.md"), table::markdown(self)).with_context(failed)?;
        chart::draw(self, dir)
    }

    pub(crate) fn read(dir: &Path) -> Result<Results> {
        let file = dir.join("results.json");
        let json = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(serde_json::from_slice(&json)?)
    }

    pub(crate) fn print_goals(&self) {
        print!("{}", goals::text(self));
    }

    fn find(&self, peer: &str, point: &Point) -> Option<&Series> {
        self.series
            .iter()
            .find(|s| s.peer == peer && s.point == *point)
    }

    fn spread(
        &self,
        peer: &str,
        point: &Point,
        figure: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<Spread> {
        let rounds = self.find(peer, point)?.rounds.iter();
        Spread::of(rounds.map(figure).collect::<Option<Vec<_>>>()?)
    }

    /// Returns the ratio of a figure of two peers, round by round.
    fn ratio(
        &self,
        [a, b]: [&str; 2],
        point: &Point,
        figure: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<Spread> {
        let rounds = self.find(a, point)?.rounds.iter();
        let pairs = rounds.zip(&self.find(b, point)?.rounds);
        let ratios = pairs.map(|(a, b)| Some(figure(a)? / figure(b)?));
        Spread::of(ratios.collect::<Option<Vec<_>>>()?)
    }

    /// Returns the asynchronous store in PostgreSQL, without those of session-postgres, with the best median.
    fn best(
        &self,
        point: &Point,
        figure: impl Fn(&Figures) -> Option<f64>,
        is_better: impl Fn(f64, f64) -> bool,
    ) -> Option<&'static str> {
        let mut best = None;
        for peer in ASYNC_PEERS {
            if let Some(spread) = self.spread(peer, point, &figure) {
                let median = spread.median();
                if best.is_none_or(|(_, other)| is_better(median, other)) {
                    best = Some((peer, median));
                }
            }
        }
        best.map(|(peer, _)| peer)
    }

    /// Returns the kinds of points. The shortest round trip comes first, and no round trip last.
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = Vec::new();
        for kind in self.series.iter().map(|s| s.point.kind) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds.sort_by_key(|kind| kind.rtt.rank());
        kinds
    }

    fn callers(&self, kind: Kind) -> BTreeSet<usize> {
        let points = self.series.iter().map(|s| s.point);
        let points = points.filter(|point| point.kind == kind);
        points.map(|point| point.callers).collect()
    }
}
