//! A whole run: starts the server and the processes of the peers, and measures round by round.

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use session_postgres::postgres::{Client, NoTls};
use throwaway_postgres::Server;

use crate::{
    peer,
    plan::{CONNECTIONS, Plan, Point},
    process::Process,
    protocol::{Request, Response, Run},
    results::{Machine, Results},
};

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let server = start_server()?;
    let mut admin = Client::connect(server.url(), NoTls)?;
    let peers = start_peers(plan, &server, &mut admin)?;
    ensure!(!peers.is_empty(), "no peer has such a name");
    let mut rounds = Rounds {
        plan,
        admin,
        results: Results::new(plan, Machine::read(server.version())?),
        progress: progress_bar(plan, peers.len())?,
        peers,
    };
    for points in plan.points.chunk_by(|a, b| a.value_bytes == b.value_bytes) {
        rounds.fill(points[0].value_bytes)?;
        for round in 0..plan.rounds {
            rounds.prepare()?;
            for point in points {
                rounds.measure(point, round)?;
            }
        }
    }
    let mut results = rounds.end();
    results.end()?;
    results.write(&plan.out)?;
    results.print_goals();
    println!("\nThe results are in {}", plan.out.display());
    Ok(())
}

struct Rounds<'a> {
    plan: &'a Plan,
    admin: Client,
    peers: Vec<Process>,
    results: Results,
    progress: ProgressBar,
}

impl Rounds<'_> {
    fn fill(&mut self, value_bytes: usize) -> Result<()> {
        let sessions = self.plan.sessions;
        for peer in &mut self.peers {
            self.progress
                .set_message(format!("{}: {sessions} sessions", peer.name));
            peer.send(&Request::Fill {
                sessions,
                value_bytes,
            })?;
        }
        Ok(())
    }

    /// Does the server's periodic work between the rounds: see [`start_server`].
    fn prepare(&mut self) -> Result<()> {
        self.progress.set_message("checkpoint, vacuum");
        self.admin.batch_execute("CHECKPOINT")?;
        for peer in &mut self.peers {
            peer.send(&Request::Vacuum)?;
            peer.send(&Request::Touch)?;
        }
        Ok(())
    }

    /// Measures one point of each peer. Each round begins with another peer.
    fn measure(&mut self, point: &Point, round: usize) -> Result<()> {
        let Point { verb, callers, .. } = *point;
        let request = Request::Run(Run {
            verb,
            callers,
            length: self.plan.length,
            seed: round as u64,
        });
        let begin = round % self.peers.len();
        let (last, first) = self.peers.split_at_mut(begin);
        for peer in first.iter_mut().chain(last) {
            self.progress
                .set_message(format!("{verb}, {callers} callers: {}", peer.name));
            if let Response::Ran(Some(figures)) = peer.send(&request)? {
                self.results.add(peer.name, point, figures);
            }
            self.progress.inc(1);
        }
        Ok(())
    }

    fn end(self) -> Results {
        self.progress.finish_and_clear();
        self.results
    }
}

/// Starts a durable server that does no periodic work by itself, because that would slow down the peer that is
/// measured at that moment.
pub(crate) fn start_server() -> Result<Server> {
    let server = Server::builder()
        .durable(true)
        .setting("shared_buffers", "1GB")
        .setting("max_wal_size", "16GB")
        .setting("checkpoint_timeout", "1h")
        .setting("autovacuum", "off")
        .setting("max_connections", &(CONNECTIONS * 16).to_string())
        .start()?;
    let mut client = Client::connect(server.url(), NoTls)?;
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let row = client.query_one(&format!("SHOW {setting}"), &[])?;
        ensure!(row.get::<_, &str>(0) == "on", "{setting} is not on");
    }
    Ok(server)
}

fn start_peers(plan: &Plan, server: &Server, admin: &mut Client) -> Result<Vec<Process>> {
    let has_pgbench = server.bin_dir().join("pgbench").exists();
    let mut peers = Vec::new();
    for (number, &name) in peer::ALL.iter().enumerate() {
        if plan.includes(name) && (name != peer::PGBENCH || has_pgbench) {
            let database = format!("peer_{number}");
            admin.batch_execute(&format!("CREATE DATABASE {database}"))?;
            peers.push(Process::start(name, &url_of(server, &database), server)?);
        }
    }
    Ok(peers)
}

/// Returns the connection string of a database of the server.
pub(crate) fn url_of(server: &Server, database: &str) -> String {
    let words = server.url().split(' ');
    let words = words.filter(|word| !word.starts_with("dbname="));
    let words: Vec<_> = words.collect();
    format!("{} dbname={database}", words.join(" "))
}

fn progress_bar(plan: &Plan, peers: usize) -> Result<ProgressBar> {
    let bar = ProgressBar::new((plan.points.len() * plan.rounds * peers) as u64);
    let style = "{wide_bar} {pos}/{len}, {eta} left\n{msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}
