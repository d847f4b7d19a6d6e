//! A whole run: the server, the peers' processes, the rounds.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use session_postgres::postgres::{Client, NoTls};
use throwaway_postgres::Server;

use crate::{
    order::{Answer, Order, Run},
    peer::{self, pgbench},
    plan::{CONNECTIONS, Plan, Point},
    results::{Machine, Results},
};

pub(crate) fn run(plan: &Plan) -> Result<()> {
    let server = start_server()?;
    let mut admin = Client::connect(server.url(), NoTls)?;
    let mut sides = Vec::new();
    for (number, &name) in peer::ALL.iter().enumerate() {
        let takes_part = plan
            .peers
            .as_ref()
            .is_none_or(|parts| parts.iter().any(|part| name.contains(part)));
        let is_there = name != peer::PGBENCH || server.bin_dir().join("pgbench").exists();
        if takes_part && is_there {
            let database = format!("peer_{number}");
            admin.batch_execute(&format!("CREATE DATABASE {database}"))?;
            let url = format!("{} dbname={database}", without_database(server.url()));
            sides.push(Process::start(name, &url, &server)?);
        }
    }
    ensure!(!sides.is_empty(), "no such peers");

    let mut results = Results::new(plan, Machine::read(server.version())?);
    let bar = progress(plan, sides.len())?;
    let mut rest = plan.points.as_slice();
    while let [first, ..] = rest {
        let value_bytes = first.value_bytes;
        let same = rest.iter().take_while(|p| p.value_bytes == value_bytes);
        let points;
        (points, rest) = rest.split_at(same.count());
        for side in &mut sides {
            bar.set_message(format!("{}: {} sessions", side.name, plan.sessions));
            side.obey(&Order::Fill {
                sessions: plan.sessions,
                value_bytes,
            })?;
        }
        for round in 0..plan.rounds {
            bar.set_message("checkpoint, vacuum");
            admin.batch_execute("CHECKPOINT")?;
            for side in &mut sides {
                side.obey(&Order::Vacuum)?;
                side.obey(&Order::Touch)?;
            }
            for point in points {
                measure(plan, point, round, &mut sides, &mut results, &bar)?;
            }
        }
    }
    bar.finish_and_clear();
    drop(sides);
    results.end()?;
    results.write(&plan.out)?;
    results.print_bars();
    println!("\nAll of it is in {}", plan.out.display());
    Ok(())
}

/// One point, of each peer in turn. Who begins changes with each round.
fn measure(
    plan: &Plan,
    point: &Point,
    round: usize,
    sides: &mut [Process],
    results: &mut Results,
    bar: &ProgressBar,
) -> Result<()> {
    let begin = round % sides.len();
    let (second, first) = sides.split_at_mut(begin);
    for side in first.iter_mut().chain(second) {
        let Point { verb, callers, .. } = *point;
        bar.set_message(format!("{verb}, {callers} callers: {}", side.name));
        let run = Run {
            verb,
            callers,
            length: plan.length,
            seed: round as u64,
        };
        if let Answer::Ran(Some(figures)) = side.obey(&Order::Run(run))? {
            results.add(side.name, point, figures);
        }
        bar.inc(1);
    }
    Ok(())
}

/// It keeps what it commits. What PostgreSQL does by itself now and then is done between the rounds: it
/// would hit whoever's turn it is.
fn start_server() -> Result<Server> {
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

fn without_database(url: &str) -> String {
    let words = url.split(' ').filter(|word| !word.starts_with("dbname="));
    words.collect::<Vec<_>>().join(" ")
}

fn progress(plan: &Plan, sides: usize) -> Result<ProgressBar> {
    let bar = ProgressBar::new((plan.points.len() * plan.rounds * sides) as u64);
    let style = "{wide_bar} {pos}/{len}, {eta} left\n{msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}

/// The process of a peer, so that its memory, threads and processor time are its own. It ends when its
/// stdin does.
struct Process {
    name: &'static str,
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(name: &'static str, url: &str, server: &Server) -> Result<Process> {
        let mut child = Command::new(env::current_exe()?)
            .args(["serve", name, url])
            .env(pgbench::BIN, server.bin_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let answers = child.stdout.take().context("no stdout")?;
        Ok(Process {
            name,
            orders: child.stdin.take(),
            answers: BufReader::new(answers).lines(),
            child,
        })
    }

    fn obey(&mut self, order: &Order) -> Result<Answer> {
        let name = self.name;
        let mut tell = || -> Result<Answer> {
            let orders = self.orders.as_mut().context("no stdin")?;
            writeln!(orders, "{}", serde_json::to_string(order)?)?;
            let answer = self.answers.next().context("it has ended")??;
            Ok(serde_json::from_str(&answer)?)
        };
        match tell().with_context(|| format!("{name}: {order:?}"))? {
            Answer::Failed(why) => bail!("{name}: {order:?}: {why}"),
            answer => Ok(answer),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
