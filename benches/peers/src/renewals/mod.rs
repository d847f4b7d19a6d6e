//! Measures what it costs to keep visitors logged in, on sites where each session gets many requests in its period.
//!
//! Each measurement has a new database, so that the server's statistics show how many rows it has updated.

mod site;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use session_postgres::{
    Period,
    postgres::{Client, NoTls},
};
use throwaway_postgres::Server;
use tokio::runtime::Runtime;

use self::site::{AlwaysSave, GetAndTouch, Renew, Site, Strategy};
use crate::{
    admin::Admin,
    peer::{Ours, Peer, TowerSessions},
    results::{Short, Spread},
    run::{start_server, tcp_port, url_of},
    values::Values,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The number of rounds. Each round measures all strategies.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 300)]
    sessions: usize,
    /// The number of requests of each session in its period.
    #[arg(long, default_value_t = 1_000)]
    requests: usize,
    /// The sizes of the values.
    #[arg(long, value_delimiter = ',', default_values_t = [200, 2048])]
    bytes: Vec<usize>,
}

/// The part of the requests that is used to find out how long a period is.
const TRIAL: usize = 10;

const DATABASE: &str = "renewals";

type Measure = fn(&mut Bench, usize) -> Result<Cost>;

const STRATEGIES: [(&str, Measure); 4] = [
    ("session-postgres, `renew`", measure::<Renew>),
    (
        "session-postgres, `get` and `touch`",
        measure::<GetAndTouch>,
    ),
    (
        "session-postgres, `get` and `set`",
        measure::<AlwaysSave<Ours>>,
    ),
    (
        "tower-sessions-sqlx-store, `load` and `save`",
        measure::<AlwaysSave<TowerSessions>>,
    ),
];

struct Bench {
    server: Server,
    admin: Client,
    runtime: Runtime,
    sessions: usize,
    /// The number of requests of a measurement.
    requests: usize,
}

struct Cost {
    requests_per_second: f64,
    wal_bytes_per_request: f64,
    writes_per_session: f64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let server = start_server()?;
    let mut bench = Bench {
        admin: Client::connect(server.url(), NoTls)?,
        server,
        runtime: Runtime::new()?,
        sessions: options.sessions,
        requests: options.sessions * options.requests,
    };
    let measurements = options.bytes.len() * options.rounds * STRATEGIES.len();
    let progress = ProgressBar::new(measurements as u64);
    for &value_bytes in &options.bytes {
        let mut costs = STRATEGIES.map(|_| Vec::new());
        for round in 0..options.rounds {
            for turn in 0..STRATEGIES.len() {
                let number = (round + turn) % STRATEGIES.len();
                let (name, measure) = STRATEGIES[number];
                costs[number].push(measure(&mut bench, value_bytes).context(name)?);
                progress.inc(1);
            }
        }
        progress.suspend(|| print(options, value_bytes, &costs));
    }
    Ok(())
}

fn print(options: &Options, value_bytes: usize, costs: &[Vec<Cost>]) {
    println!(
        "\n| {value_bytes}-byte values | requests per second | write-ahead log per request, bytes | \
         writes per {} requests |\n|---|---|---|---|",
        options.requests
    );
    for ((name, _), rounds) in STRATEGIES.iter().zip(costs) {
        let cell = |figure: fn(&Cost) -> f64| {
            let spread = Spread::of(rounds.iter().map(figure).collect());
            spread.map_or_else(String::new, |spread| {
                format!("{} ({})", Short(spread.median()), spread.range())
            })
        };
        println!(
            "| {name} | {} | {} | {} |",
            cell(|cost| cost.requests_per_second),
            cell(|cost| cost.wal_bytes_per_request),
            cell(|cost| cost.writes_per_session),
        );
    }
}

fn measure<S: Strategy>(bench: &mut Bench, value_bytes: usize) -> Result<Cost> {
    let values = Arc::new(Values::new(value_bytes));
    let period = {
        let site = bench.open::<S>(&values, Period::WEEK)?;
        let trial = bench.requests / TRIAL;
        bench.runtime.block_on(site.serve(trial))?;
        bench.runtime.block_on(site.serve(trial))? * TRIAL as u32
    };
    let site = bench.open::<S>(&values, period.try_into()?)?;
    let before = bench.wal()?;
    let time = bench.runtime.block_on(site.serve(bench.requests))?;
    let wal_bytes = bench.wal()? - before;
    drop(site);
    let requests = bench.requests as f64;
    Ok(Cost {
        requests_per_second: requests / time.as_secs_f64(),
        wal_bytes_per_request: wal_bytes as f64 / requests,
        writes_per_session: bench.updates()? as f64 / bench.sessions as f64,
    })
}

impl Bench {
    /// Creates a database with sessions. Makes a checkpoint before, so that all their pages are new: no request has
    /// to log a whole page, which is done at the first change of an old page after a checkpoint.
    fn open<S: Strategy>(&mut self, values: &Arc<Values>, period: Period) -> Result<Site<S>> {
        let drop = format!("DROP DATABASE IF EXISTS {DATABASE}");
        self.admin.execute(&drop, &[])?;
        let create = format!("CREATE DATABASE {DATABASE}");
        self.admin.execute(&create, &[])?;
        self.admin.batch_execute("CHECKPOINT")?;
        let url = self.url()?;
        self.runtime.block_on(async {
            let site = Site::open(&url, values, period, self.sessions).await?;
            let admin = <S::Peer as Peer>::Admin::connect(&url, &S::Peer::TABLE).await?;
            admin.vacuum().await?;
            Ok(site)
        })
    }

    /// Returns the connection string of the database.
    fn url(&self) -> Result<String> {
        let server = self.server.tcp_url().context("no TCP port")?;
        Ok(url_of(server, tcp_port(&self.server)?, DATABASE))
    }

    fn wal(&mut self) -> Result<i64> {
        let wal = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
        Ok(self.admin.query_one(wal, &[])?.get(0))
    }

    /// Returns the number of updated rows. Connections report it when they are closed.
    fn updates(&mut self) -> Result<i64> {
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
        let start = Instant::now();
        while self.admin.query_one(open, &[&DATABASE])?.get::<_, i64>(0) > 0 {
            ensure!(start.elapsed().as_secs() < 10, "a connection stays open");
            thread::sleep(Duration::from_millis(10));
        }
        let updates = "SELECT sum(n_tup_upd)::bigint FROM pg_stat_user_tables";
        let mut client = Client::connect(&self.url()?, NoTls)?;
        Ok(client.query_one(updates, &[])?.get(0))
    }
}
