//! The process of a peer: takes orders and carries them out.

use std::{
    collections::HashMap,
    io::{BufRead, stdin},
    mem,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::resource::UsageWho;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::{
    load::{self, Table},
    measure::{Figures, Meters, forget_peak, percentile, threads_and_peak},
    order::{Answer, Order, Run},
    peer::Peer,
    plan::Verb,
    values::Values,
};

/// Who carries out orders.
pub(crate) trait Side {
    fn obey(&mut self, order: Order) -> Result<Answer>;
}

/// Until there are no more orders.
pub(crate) fn serve(mut side: impl Side) -> Result<()> {
    for line in stdin().lock().lines() {
        let answer = side.obey(serde_json::from_str(&line?)?);
        let answer = answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}

/// A connection for what is not measured.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn vacuum(admin: &Client, table: &str) -> Result<()> {
    Ok(admin
        .batch_execute(&format!("VACUUM ANALYZE {table}"))
        .await?)
}

/// A lock changes the row. An index is not changed with it, so it is made anew.
pub(crate) async fn touch(admin: &Client, table: &str) -> Result<()> {
    let lock_all =
        format!("SELECT count(*) FROM (SELECT FROM {table} FOR NO KEY UPDATE) AS locked");
    admin.query_one(&lock_all, &[]).await?;
    Ok(admin
        .batch_execute(&format!("REINDEX TABLE {table}"))
        .await?)
}

/// How many rows are put in or taken out in one statement.
const CHUNK: usize = 2_000;

/// A peer and those who call it.
pub(crate) struct Callers<P: Peer> {
    runtime: Runtime,
    admin: Client,
    meters: Meters,
    peer: Arc<P>,
    table: Option<Table<P>>,
    /// Sessions to be deleted.
    spares: Vec<P::Key>,
    /// How many a second so many callers delete.
    delete_rates: HashMap<usize, f64>,
}

impl<P: Peer> Callers<P> {
    pub(crate) fn new(url: &str) -> Result<Callers<P>> {
        let runtime = Runtime::new()?;
        let admin = runtime.block_on(connect(url))?;
        let meters = runtime.block_on(Meters::new(&admin, UsageWho::RUSAGE_SELF))?;
        let peer = runtime.block_on(P::open(url))?;
        Ok(Callers {
            runtime,
            admin,
            meters,
            peer: Arc::new(peer),
            table: None,
            spares: Vec::new(),
            delete_rates: HashMap::new(),
        })
    }

    fn fill(&mut self, sessions: usize, value_bytes: usize) -> Result<()> {
        let truncate = format!("TRUNCATE {}", P::TABLE);
        self.runtime.block_on(self.admin.batch_execute(&truncate))?;
        let values = Arc::new(Values::new(value_bytes));
        let keys = Arc::new(self.put_in(&values, sessions)?);
        self.table = Some(Table { keys, values });
        self.spares.clear();
        self.delete_rates.clear();
        self.runtime.block_on(vacuum(&self.admin, P::TABLE))
    }

    /// Puts in new sessions, not by the peer's verbs.
    fn put_in(&self, values: &Values, count: usize) -> Result<Vec<P::Key>> {
        let keys = (0..count).map(|_| P::new_key());
        let keys = keys.collect::<Result<Vec<_>>>()?;
        for (chunk, keys) in keys.chunks(CHUNK).enumerate() {
            let texts: Vec<_> = keys.iter().map(P::text).collect();
            let rows = keys.iter().zip(chunk * CHUNK..);
            let data = rows.map(|(key, session)| P::data(key, values.of(session, 0)));
            let data = data.collect::<Result<Vec<_>>>()?;
            self.runtime
                .block_on(self.admin.execute(P::INSERT, &[&texts, &data]))?;
        }
        Ok(keys)
    }

    fn take_out(&self, keys: &[P::Key]) -> Result<()> {
        for keys in keys.chunks(CHUNK) {
            let texts: Vec<_> = keys.iter().map(P::text).collect();
            self.runtime
                .block_on(self.admin.execute(P::DELETE, &[&texts]))?;
        }
        Ok(())
    }

    fn run(&mut self, run: &Run) -> Result<Figures> {
        if run.verb == Verb::Delete && !self.delete_rates.contains_key(&run.callers) {
            self.find_delete_rate(run)?;
        }
        self.measure(run)
    }

    /// How many sessions are needed to go on deleting for so long?
    fn find_delete_rate(&mut self, run: &Run) -> Result<()> {
        let short = Run {
            length: run.length.min(Duration::from_millis(100)),
            ..run.clone()
        };
        let mut enough_for = 1_000.0;
        loop {
            self.delete_rates.insert(run.callers, enough_for);
            let rate = self.measure(&short)?.rate();
            if !self.spares.is_empty() {
                self.delete_rates.insert(run.callers, rate);
                return Ok(());
            }
            enough_for *= 4.0;
        }
    }

    fn measure(&mut self, run: &Run) -> Result<Figures> {
        let mut spares = Vec::new();
        if run.verb == Verb::Delete {
            spares = mem::take(&mut self.spares);
            let rate = self.delete_rates[&run.callers];
            let wanted = 2 * run.callers + (rate * run.length.as_secs_f64() * 2.0) as usize;
            let missing = wanted.saturating_sub(spares.len());
            spares.extend(self.put_in(&self.table()?.values, missing)?);
        }
        let Callers {
            runtime,
            admin,
            meters,
            peer,
            ..
        } = &*self;
        forget_peak();
        let calling = load::start(runtime, peer, self.table()?, spares, run)?;
        let before = runtime.block_on(meters.read(admin))?;
        let end = || {
            let cost = runtime.block_on(meters.since(&before, admin))?;
            Ok((cost, threads_and_peak()?))
        };
        let (load, (cost, (threads, peak_bytes))) = calling.measure(runtime, end)?;
        self.take_out(&load.created)?;
        self.spares.extend(load.spares);
        Ok(Figures {
            calls: load.latencies.len(),
            seconds: load.length.as_secs_f64(),
            p50: percentile(&load.latencies, 50),
            p99: percentile(&load.latencies, 99),
            program_cpu: cost.program_cpu,
            server_cpu: cost.server_cpu,
            threads,
            peak_bytes,
            wal_bytes: cost.wal_bytes,
            program_switches: cost.program_switches,
            server_switches: cost.server_switches,
        })
    }

    fn table(&self) -> Result<&Table<P>> {
        self.table.as_ref().context("there is no table yet")
    }
}

impl<P: Peer> Side for Callers<P> {
    fn obey(&mut self, order: Order) -> Result<Answer> {
        match order {
            Order::Fill {
                sessions,
                value_bytes,
            } => self.fill(sessions, value_bytes)?,
            Order::Vacuum => self.runtime.block_on(vacuum(&self.admin, P::TABLE))?,
            Order::Touch => self.runtime.block_on(touch(&self.admin, P::TABLE))?,
            Order::Run(run) => return Ok(Answer::Ran(Some(self.run(&run)?))),
        }
        Ok(Answer::Done)
    }
}
