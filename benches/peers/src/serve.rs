//! The process of a peer: executes the requests that it reads from stdin.

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

use crate::{
    admin::Admin,
    callers::{self, Table},
    figures::{Figures, percentile},
    meters::{Meters, reset_peak, threads_and_peak},
    peer::Peer,
    plan::Verb,
    protocol::{Request, Response, Run, Way},
    rtt::Rtt,
    values::Values,
};

/// Executes requests on a peer's table: see [`Request`].
pub(crate) trait Handler {
    fn fill(&mut self, sessions: usize, value_bytes: usize) -> Result<()>;

    fn connect(&mut self, way: Way) -> Result<()>;

    fn vacuum(&mut self) -> Result<()>;

    fn touch(&mut self) -> Result<()>;

    fn run(&mut self, run: &Run) -> Result<Option<Figures>>;

    fn handle(&mut self, request: Request) -> Result<Response> {
        match request {
            Request::Fill {
                sessions,
                value_bytes,
            } => self.fill(sessions, value_bytes)?,
            Request::Connect(way) => self.connect(way)?,
            Request::Vacuum => self.vacuum()?,
            Request::Touch => self.touch()?,
            Request::Run(run) => return Ok(Response::Ran(self.run(&run)?)),
        }
        Ok(Response::Done)
    }
}

/// Returns when stdin is closed.
pub(crate) fn serve(mut handler: impl Handler) -> Result<()> {
    for line in stdin().lock().lines() {
        let response = handler.handle(serde_json::from_str(&line?)?);
        let response = response.unwrap_or_else(|error| Response::Failed(format!("{error:#}")));
        println!("{}", serde_json::to_string(&response)?);
    }
    Ok(())
}

/// The number of rows that one statement inserts or deletes.
const CHUNK: usize = 2_000;

/// The handler of all peers that are Rust libraries.
pub(crate) struct PeerHandler<P: Peer> {
    runtime: Runtime,
    admin: P::Admin,
    meters: Meters,
    pub(crate) options: P::Options,
    /// `None` only while it is replaced.
    pub(crate) peer: Option<Arc<P>>,
    rtt: Rtt,
    table: Option<Table<P>>,
    /// The sessions for [`Verb::Delete`].
    spares: Vec<P::Key>,
    /// Deletes per second, by the number of callers.
    delete_rates: HashMap<(Rtt, usize), f64>,
}

impl<P: Peer> PeerHandler<P> {
    /// Connects to the server without a proxy.
    pub(crate) fn new(url: &str, options: P::Options) -> Result<PeerHandler<P>> {
        let runtime = Runtime::new()?;
        let admin = runtime.block_on(P::Admin::connect(url, &P::TABLE))?;
        let meters = runtime.block_on(Meters::new(&admin, UsageWho::RUSAGE_SELF))?;
        let peer = runtime.block_on(P::open(url, &options))?;
        Ok(PeerHandler {
            runtime,
            admin,
            meters,
            options,
            peer: Some(Arc::new(peer)),
            rtt: Rtt::NONE,
            table: None,
            spares: Vec::new(),
            delete_rates: HashMap::new(),
        })
    }

    /// Inserts new sessions without using the peer.
    fn insert(&self, values: &Values, count: usize) -> Result<Vec<P::Key>> {
        let keys = (0..count).map(|_| P::new_key());
        let keys = keys.collect::<Result<Vec<_>>>()?;
        for (chunk, keys) in keys.chunks(CHUNK).enumerate() {
            let texts = keys.iter().map(P::text).collect();
            let rows = keys.iter().zip(chunk * CHUNK..);
            let data = rows.map(|(key, session)| P::data(key, values.of(session, 0)));
            let data = data.collect::<Result<Vec<_>>>()?;
            self.runtime.block_on(self.admin.insert(texts, data))?;
        }
        Ok(keys)
    }

    fn delete(&self, keys: &[P::Key]) -> Result<()> {
        for keys in keys.chunks(CHUNK) {
            let texts = keys.iter().map(P::text).collect();
            self.runtime.block_on(self.admin.delete(texts))?;
        }
        Ok(())
    }

    /// Estimates how many sessions a run deletes, so that enough are there.
    fn estimate_delete_rate(&mut self, run: &Run) -> Result<()> {
        let short = Run {
            length: run.length.min(Duration::from_millis(100)),
            ..run.clone()
        };
        let kind = (self.rtt, run.callers);
        let mut enough_for = 1_000.0;
        loop {
            self.delete_rates.insert(kind, enough_for);
            let rate = self.measure(&short)?.rate();
            if !self.spares.is_empty() {
                self.delete_rates.insert(kind, rate);
                return Ok(());
            }
            enough_for *= 4.0;
        }
    }

    fn measure(&mut self, run: &Run) -> Result<Figures> {
        let mut spares = Vec::new();
        if run.verb == Verb::Delete {
            spares = mem::take(&mut self.spares);
            let rate = self.delete_rates[&(self.rtt, run.callers)];
            let wanted = 2 * run.callers + (rate * run.length.as_secs_f64() * 2.0) as usize;
            let missing = wanted.saturating_sub(spares.len());
            spares.extend(self.insert(&self.table()?.values, missing)?);
        }
        let PeerHandler {
            runtime,
            admin,
            meters,
            peer,
            ..
        } = &*self;
        let peer = peer.as_ref().context("the peer is not connected")?;
        reset_peak();
        let running = callers::start(runtime, peer, self.table()?, spares, run)?;
        let before = runtime.block_on(meters.read(admin))?;
        let read_cost = || {
            let cost = runtime.block_on(meters.since(&before, admin))?;
            Ok((cost, threads_and_peak()?))
        };
        let (outcome, (cost, (threads, peak_bytes))) = running.measure(runtime, read_cost)?;
        self.delete(&outcome.created)?;
        self.spares.extend(outcome.spares);
        Ok(Figures {
            calls: outcome.latencies.len(),
            seconds: outcome.length.as_secs_f64(),
            p50: percentile(&outcome.latencies, 50),
            p99: percentile(&outcome.latencies, 99),
            program_cpu: cost.program_cpu,
            server_cpu: cost.server_cpu,
            proxy_cpu: cost.proxy_cpu,
            threads,
            peak_bytes,
            log_bytes: cost.log_bytes,
            program_switches: cost.program_switches,
            server_switches: cost.server_switches,
        })
    }

    fn table(&self) -> Result<&Table<P>> {
        self.table.as_ref().context("the table has not been filled")
    }
}

impl<P: Peer> Handler for PeerHandler<P> {
    fn fill(&mut self, sessions: usize, value_bytes: usize) -> Result<()> {
        self.runtime.block_on(self.admin.clear())?;
        let values = Arc::new(Values::new(value_bytes));
        let keys = Arc::new(self.insert(&values, sessions)?);
        self.table = Some(Table { keys, values });
        self.spares.clear();
        self.delete_rates.clear();
        self.vacuum()
    }

    fn connect(&mut self, way: Way) -> Result<()> {
        let _entered = self.runtime.enter();
        drop(self.peer.take());
        let peer = self.runtime.block_on(P::open(&way.url, &self.options))?;
        self.peer = Some(Arc::new(peer));
        self.rtt = way.rtt;
        self.meters.proxy = way.proxy;
        Ok(())
    }

    fn vacuum(&mut self) -> Result<()> {
        self.runtime.block_on(self.admin.vacuum())
    }

    fn touch(&mut self) -> Result<()> {
        self.runtime.block_on(self.admin.touch())
    }

    fn run(&mut self, run: &Run) -> Result<Option<Figures>> {
        if run.verb == Verb::Delete && !self.delete_rates.contains_key(&(self.rtt, run.callers)) {
            self.estimate_delete_rate(run)?;
        }
        Ok(Some(self.measure(run)?))
    }
}
