//! `pgbench -M prepared` with plain statements: the limit of one statement per call, because pgbench itself does
//! almost nothing. Each caller has a connection, so there are no more callers than connections.

use std::{collections::HashMap, env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::runtime::Runtime;

use super::statements;
use crate::{
    admin::{Admin, Postgres},
    figures::{Figures, percentile},
    meters::Meters,
    plan::{CONNECTIONS, Verb},
    protocol::{Run, Way},
    rtt::Rtt,
    serve::Handler,
    values::{VARIANTS, Values},
};

/// The environment variable with the directory of PostgreSQL's programs.
pub(crate) const BIN: &str = "PEERS_PG_BIN";

/// The prefix of the names of pgbench's logs. Each thread of pgbench writes one.
const LOG: &str = "log";

/// The approximate number of calls of a run that pgbench logs. Logging all would slow them down.
const SAMPLES: f64 = 2_000.0;

/// Keys are numbers, because pgbench can choose random numbers.
const FILL: &str = "INSERT INTO session (session_key, expire_date, session_data) \
     SELECT number::text, now() + interval '7 days', $1 \
     FROM generate_series(1, $2::integer) AS number";

/// The shortest run. pgbench connects in each run, which costs the server time.
const SHORTEST: Duration = Duration::from_millis(300);

pub(super) struct Pgbench {
    url: String,
    rtt: Rtt,
    program: PathBuf,
    /// The directory of the scripts and logs.
    dir: PathBuf,
    /// One for each variant of the values.
    scripts: Vec<PathBuf>,
    runtime: Runtime,
    admin: Postgres,
    meters: Meters,
    sessions: usize,
    values: Vec<String>,
    /// The calls per second of the last run, by verb and number of clients.
    rates: HashMap<(Rtt, Verb, usize), f64>,
}

impl Pgbench {
    pub(super) fn new(url: &str) -> Result<Pgbench> {
        let runtime = Runtime::new()?;
        let admin = runtime.block_on(Postgres::connect(url, &statements::TABLE))?;
        let create = admin.clients[0].batch_execute(statements::CREATE_TABLE);
        runtime.block_on(create)?;
        let meters = runtime.block_on(Meters::new(&admin, UsageWho::RUSAGE_CHILDREN))?;
        let dir = env::temp_dir().join(format!("peers-{}", std::process::id()));
        fs::create_dir(&dir)?;
        let script = |variant| dir.join(format!("{variant}.sql"));
        Ok(Pgbench {
            url: url.to_owned(),
            rtt: Rtt::NONE,
            program: PathBuf::from(env::var_os(BIN).unwrap_or_default()).join("pgbench"),
            scripts: (0..VARIANTS).map(script).collect(),
            dir,
            runtime,
            admin,
            meters,
            sessions: 0,
            values: Vec::new(),
            rates: HashMap::new(),
        })
    }

    /// Returns the logged latencies of the last run, in ascending order, and removes the logs. The third word
    /// of a line is the latency in microseconds.
    fn take_latencies(&self) -> Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        for file in fs::read_dir(&self.dir)? {
            let file = file?;
            if !file.file_name().to_string_lossy().starts_with(LOG) {
                continue;
            }
            for line in fs::read_to_string(file.path())?.lines() {
                let micros = line.split(' ').nth(2).and_then(|word| word.parse().ok());
                let micros = micros.with_context(|| format!("pgbench logged {line:?}"))?;
                latencies.push(Duration::from_micros(micros));
            }
            fs::remove_file(file.path())?;
        }
        latencies.sort_unstable();
        Ok(latencies)
    }

    fn pgbench(&self, clients: usize, calls_per_client: usize, seed: u64) -> Result<Figures> {
        let before = self.runtime.block_on(self.meters.read(&self.admin))?;
        let scripts = self.scripts.iter();
        let scripts = scripts.map(|script| format!("--file={}", script.display()));
        let values = self.values.iter().enumerate();
        let values = values.map(|(variant, value)| format!("--define=value{variant}={value}"));
        let calls = clients * calls_per_client;
        let sampled = (SAMPLES / calls as f64).min(1.0);
        let output = Command::new(&self.program)
            .args(["--no-vacuum", "--protocol=prepared"])
            .args(scripts)
            .args(values)
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={}", clients.min(2)))
            .arg(format!("--transactions={calls_per_client}"))
            .arg(format!("--random-seed={seed}"))
            .arg("--log")
            .arg(format!("--sampling-rate={sampled}"))
            .arg(format!("--log-prefix={}", self.dir.join(LOG).display()))
            .arg(&self.url)
            .output()
            .context("pgbench")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("pgbench: {}", String::from_utf8_lossy(&output.stderr));
        }
        // The server's processes end a little later than their clients.
        std::thread::sleep(Duration::from_millis(20));
        let cost = self
            .runtime
            .block_on(self.meters.since(&before, &self.admin))?;
        let processed = format!("processed: {calls}/{calls}");
        ensure!(
            text.contains(&processed),
            "some transactions of pgbench failed: {text}"
        );
        let rate = text.lines().find_map(|line| {
            let rate = line.strip_prefix("tps = ")?.split(' ').next()?;
            rate.parse::<f64>().ok()
        });
        let rate = rate.with_context(|| format!("pgbench printed no rate: {text}"))?;
        let latencies = self.take_latencies()?;
        ensure!(!latencies.is_empty(), "pgbench logged no call");
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        Ok(Figures {
            calls,
            seconds: calls as f64 / rate,
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            program_cpu: cost.program_cpu,
            server_cpu: cost.server_cpu,
            proxy_cpu: cost.proxy_cpu,
            threads: clients.min(2) as u64,
            peak_bytes: usage.max_rss() as u64 * 1024,
            log_bytes: cost.log_bytes,
            program_switches: cost.program_switches,
            server_switches: cost.server_switches,
        })
    }
}

impl Handler for Pgbench {
    fn fill(&mut self, sessions: usize, value_bytes: usize) -> Result<()> {
        self.sessions = sessions;
        let values = Values::new(value_bytes);
        self.values = (0..VARIANTS).map(|variant| values.of(0, variant)).collect();
        self.rates.clear();
        self.runtime.block_on(async {
            self.admin.clear().await?;
            let count = sessions as i32;
            self.admin.clients[0]
                .execute(FILL, &[&self.values[0], &count])
                .await?;
            self.admin.vacuum().await
        })
    }

    fn connect(&mut self, way: Way) -> Result<()> {
        self.url = way.url;
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
        let sql = match run.verb {
            Verb::Load => statements::LOAD_ONE,
            Verb::Save => statements::SAVE_ONE,
            Verb::Renew => statements::RENEW_ONE,
            Verb::Create | Verb::Delete | Verb::Mix => return Ok(None),
        };
        let sessions = self.sessions;
        for (variant, script) in self.scripts.iter().enumerate() {
            let sql = sql.replace("$1", ":key");
            let sql = sql.replace("$2", &format!(":value{variant}"));
            fs::write(script, format!("\\set key random(1, {sessions})\n{sql};\n"))?;
        }
        let clients = run.callers.min(CONNECTIONS);
        let kind = (self.rtt, run.verb, clients);
        let known = self.rates.get(&kind).copied();
        let (rate, length) = match known {
            Some(rate) => (rate, run.length.max(SHORTEST)),
            None => (200.0 * clients as f64, Duration::from_millis(100)),
        };
        let each = (rate * length.as_secs_f64() / clients as f64).ceil();
        let figures = self.pgbench(clients, each as usize, run.seed)?;
        self.rates.insert(kind, figures.rate());
        match known {
            Some(_) => Ok(Some(figures)),
            None => self.run(run),
        }
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
