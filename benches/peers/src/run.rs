//! A whole run: starts the server and the processes of the peers, and measures round by round.

use anyhow::{Context, Result, ensure};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use session_postgres::postgres::{Client, Config, NoTls};
use throwaway_postgres::Server;

use crate::{
    network::{Network, Target},
    peer,
    plan::{CONNECTIONS, Kind, Plan, Point},
    process::Process,
    protocol::{Request, Response, Run},
    proxy::Accuracy,
    redis,
    results::{Machine, Results},
    rtt::Rtt,
};

pub(crate) fn run(mut plan: Plan) -> Result<()> {
    let mut pg_servers = vec![start_server()?];
    leave_out(&mut plan, &pg_servers[0]);
    ensure!(!plan.peers.is_empty(), "no peer has such a name");
    println!("This run takes about {}.", HumanDuration(plan.estimate()));
    let accuracies = check_proxies(&plan.rtts())?;
    let servers: Vec<_> = plan
        .peers
        .iter()
        .map(|peer| Target::redis_of(peer))
        .collect();
    let durable = servers.iter().flatten().map(Target::is_durable_redis);
    if plan.peers.iter().any(|peer| peer == peer::SHARDED_3) {
        pg_servers.extend([start_server()?, start_server()?]);
    }
    let server = &pg_servers[0];
    let network = Network::start(&pg_servers, &durable.collect::<Vec<_>>(), &plan.rtts())?;
    let admins = pg_servers.iter();
    let admins = admins.map(|server| Client::connect(server.url(), NoTls));
    let mut admins = admins.collect::<Result<Vec<_>, _>>()?;
    let mut peers = Vec::new();
    for (number, (name, target)) in plan.peers.iter().zip(servers).enumerate() {
        let target = match target {
            Some(target) => target,
            None => {
                let database = format!("peer_{number}");
                let is_on_all = name == peer::SHARDED_3;
                let count = if is_on_all { admins.len() } else { 1 };
                for admin in &mut admins[..count] {
                    admin.batch_execute(&format!("CREATE DATABASE {database}"))?;
                }
                match is_on_all {
                    true => Target::Databases(database),
                    false => Target::Database(database),
                }
            }
        };
        peers.push(Process::start(name.clone(), target, &network, server)?);
    }
    let mut rounds = Rounds {
        plan: &plan,
        admins,
        results: Results::new(&plan, Machine::read(server.version())?, accuracies),
        progress: progress_bar(&plan)?,
        peers,
        network: &network,
    };
    let same_size = |a: &Point, b: &Point| a.kind.value_bytes == b.kind.value_bytes;
    for points in plan.points.chunk_by(same_size) {
        rounds.fill(points[0].kind.value_bytes)?;
        for round in 0..plan.rounds {
            for points in points.chunk_by(|a, b| a.kind.rtt == b.kind.rtt) {
                rounds.prepare(points[0].kind.rtt)?;
                for point in points {
                    rounds.measure(point, round)?;
                }
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

/// Leaves out the peers that need programs that are not installed.
fn leave_out(plan: &mut Plan, server: &Server) {
    let has_pgbench = server.bin_dir().join("pgbench").exists();
    let has_redis = redis::version().is_some();
    plan.peers.retain(|peer| {
        let needs_redis = Target::redis_of(peer).is_some();
        let missing = if needs_redis && !has_redis {
            "redis-server is not installed (apt-get install redis-server; brew install redis)"
        } else if peer == peer::PGBENCH && !has_pgbench {
            "pgbench is not installed (apt-get install postgresql-contrib)"
        } else {
            return true;
        };
        println!("{peer} is left out, because {missing}.");
        false
    });
}

/// Prints how exact the proxies are.
fn check_proxies(rtts: &[Rtt]) -> Result<Vec<Accuracy>> {
    let mut accuracies = Vec::new();
    for &rtt in rtts.iter().filter(|rtt| !rtt.is_none()) {
        let accuracy = Accuracy::measure(rtt)?;
        println!("{accuracy}");
        if !accuracy.is_exact() {
            println!("Warning: this is not exact. Is the machine busy?");
        }
        accuracies.push(accuracy);
    }
    Ok(accuracies)
}

struct Rounds<'a> {
    plan: &'a Plan,
    admins: Vec<Client>,
    peers: Vec<Process>,
    results: Results,
    progress: ProgressBar,
    network: &'a Network,
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

    /// Does the server's periodic work before the points of a round trip: see [`start_server`]. Then connects the peers.
    fn prepare(&mut self, rtt: Rtt) -> Result<()> {
        self.progress.set_message("checkpoint, vacuum");
        for admin in &mut self.admins {
            admin.batch_execute("CHECKPOINT")?;
        }
        for peer in &mut self.peers {
            peer.send(&Request::Vacuum)?;
            peer.send(&Request::Touch)?;
            peer.connect(self.network, rtt)?;
        }
        Ok(())
    }

    /// Measures one point of each peer. Each round begins with another peer.
    fn measure(&mut self, point: &Point, round: usize) -> Result<()> {
        let Point { kind, callers } = *point;
        let Kind { verb, rtt, .. } = kind;
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
                .set_message(format!("{verb}, {rtt}, {callers} callers: {}", peer.name));
            if let Response::Ran(Some(figures)) = peer.send(&request)? {
                self.results.add(&peer.name, point, figures);
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
        .tcp(true)
        .setting("shared_buffers", "1GB")
        .setting("max_wal_size", "16GB")
        .setting("checkpoint_timeout", "1h")
        .setting("autovacuum", "off")
        .setting("max_connections", &(CONNECTIONS * 64).to_string())
        .start()?;
    let mut client = Client::connect(server.url(), NoTls)?;
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let row = client.query_one(&format!("SHOW {setting}"), &[])?;
        ensure!(row.get::<_, &str>(0) == "on", "{setting} is not on");
    }
    Ok(server)
}

/// Returns the port of the server on 127.0.0.1.
pub(crate) fn tcp_port(server: &Server) -> Result<u16> {
    let config: Config = server.tcp_url().context("no TCP port")?.parse()?;
    let port = config.get_ports().first();
    port.copied().context("no TCP port")
}

/// Returns a connection string for another port and database.
pub(crate) fn url_of(url: &str, port: u16, database: &str) -> String {
    let is_kept = |word: &&str| !word.starts_with("dbname=") && !word.starts_with("port=");
    let words: Vec<_> = url.split(' ').filter(is_kept).collect();
    format!("{} port={port} dbname={database}", words.join(" "))
}

fn progress_bar(plan: &Plan) -> Result<ProgressBar> {
    let bar = ProgressBar::new((plan.points.len() * plan.rounds * plan.peers.len()) as u64);
    let style = "{wide_bar} {pos}/{len}, {eta} left\n{msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}
