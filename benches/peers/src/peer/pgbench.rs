//! `pgbench -M prepared`, with the statements that one writes by hand: what one statement a call comes to
//! where the program does next to nothing. It has as many callers as connections at most.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::by_hand;
use crate::{
    measure::{Figures, Meters, percentile},
    order::{Answer, Order, Run},
    plan::{CONNECTIONS, Verb},
    side::{Side, connect, touch, vacuum},
    values::{EDITIONS, Values},
};

/// The variable with the folder of PostgreSQL's programs.
pub(crate) const BIN: &str = "PEERS_PG_BIN";

/// How its logs are called, one for each of its threads.
const LOG: &str = "log";

/// About how many calls of a run it logs: to log all of them would take time from them.
const SAMPLES: f64 = 2_000.0;

/// In pgbench, keys are numbers.
const FILL: &str = "INSERT INTO session (session_key, expire_date, session_data) \
     SELECT number::text, now() + interval '7 days', $1 \
     FROM generate_series(1, $2::integer) AS number";

/// It connects anew for each run, which takes the server some time.
const SHORTEST: Duration = Duration::from_millis(300);

pub(super) struct Pgbench {
    url: String,
    program: PathBuf,
    /// Of its own, for scripts and logs.
    folder: PathBuf,
    /// One for each value that is written.
    scripts: Vec<PathBuf>,
    runtime: Runtime,
    admin: Client,
    meters: Meters,
    sessions: usize,
    values: Vec<String>,
    /// What the last run of a kind said, by verb and clients.
    rates: Vec<((Verb, usize), f64)>,
}

impl Pgbench {
    pub(super) fn new(url: &str) -> Result<Pgbench> {
        let runtime = Runtime::new()?;
        let admin = runtime.block_on(connect(url))?;
        let meters = runtime.block_on(Meters::new(&admin, UsageWho::RUSAGE_CHILDREN))?;
        let folder = env::temp_dir().join(format!("peers-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let script = |edition| folder.join(format!("{edition}.sql"));
        Ok(Pgbench {
            url: url.to_owned(),
            program: PathBuf::from(env::var_os(BIN).unwrap_or_default()).join("pgbench"),
            scripts: (0..EDITIONS).map(script).collect(),
            folder,
            runtime,
            admin,
            meters,
            sessions: 0,
            values: Vec::new(),
            rates: Vec::new(),
        })
    }

    fn fill(&mut self, sessions: usize, value_bytes: usize) -> Result<()> {
        self.sessions = sessions;
        let values = Values::new(value_bytes);
        self.values = (0..EDITIONS).map(|edition| values.of(0, edition)).collect();
        self.rates.clear();
        self.runtime.block_on(async {
            let begin = format!(
                "{}; TRUNCATE session",
                by_hand::CREATE_TABLE.trim_end().trim_end_matches(';')
            );
            self.admin.batch_execute(&begin).await?;
            let count = sessions as i32;
            self.admin.execute(FILL, &[&self.values[0], &count]).await?;
            vacuum(&self.admin, by_hand::TABLE).await
        })
    }

    fn run(&mut self, run: &Run) -> Result<Option<Figures>> {
        let sql = match run.verb {
            Verb::Load => by_hand::LOAD_ONE,
            Verb::Save => by_hand::SAVE_ONE,
            Verb::Create | Verb::Delete | Verb::Mix => return Ok(None),
        };
        let sessions = self.sessions;
        for (edition, script) in self.scripts.iter().enumerate() {
            let sql = sql.replace("$1", ":key");
            let sql = sql.replace("$2", &format!(":value{edition}"));
            fs::write(script, format!("\\set key random(1, {sessions})\n{sql};\n"))?;
        }
        let clients = run.callers.min(CONNECTIONS);
        let kind = (run.verb, clients);
        let known = self.rates.iter().position(|(of, _)| *of == kind);
        let (rate, length) = match known {
            Some(place) => (self.rates.swap_remove(place).1, run.length.max(SHORTEST)),
            None => (1_000.0, Duration::from_millis(100)),
        };
        let each = (rate * length.as_secs_f64() / clients as f64).ceil();
        let figures = self.pgbench(clients, each as usize, run.seed)?;
        self.rates.push((kind, figures.rate()));
        match known {
            Some(_) => Ok(Some(figures)),
            None => self.run(run),
        }
    }

    /// Of the calls of the last run that were logged, in ascending order. The third word of a line is the
    /// time that it took, in microseconds.
    fn take_latencies(&self) -> Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        for file in fs::read_dir(&self.folder)? {
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

    /// So many transactions of each client.
    fn pgbench(&self, clients: usize, each: usize, seed: u64) -> Result<Figures> {
        let before = self.runtime.block_on(self.meters.read(&self.admin))?;
        let scripts = self.scripts.iter();
        let scripts = scripts.map(|script| format!("--file={}", script.display()));
        let values = self.values.iter().enumerate();
        let values = values.map(|(edition, value)| format!("--define=value{edition}={value}"));
        let calls = clients * each;
        let sampled = (SAMPLES / calls as f64).min(1.0);
        let output = Command::new(&self.program)
            .args(["--no-vacuum", "--protocol=prepared"])
            .args(scripts)
            .args(values)
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={}", clients.min(2)))
            .arg(format!("--transactions={each}"))
            .arg(format!("--random-seed={seed}"))
            .arg("--log")
            .arg(format!("--sampling-rate={sampled}"))
            .arg(format!("--log-prefix={}", self.folder.join(LOG).display()))
            .arg(&self.url)
            .output()
            .context("pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("pgbench: {}", String::from_utf8_lossy(&output.stderr));
        }
        // The server's processes end after their clients.
        std::thread::sleep(Duration::from_millis(20));
        let cost = self
            .runtime
            .block_on(self.meters.since(&before, &self.admin))?;
        let processed = format!("processed: {calls}/{calls}");
        ensure!(said.contains(&processed), "pgbench failed in part: {said}");
        let rate = said.lines().find_map(|line| {
            let rate = line.strip_prefix("tps = ")?.split(' ').next()?;
            rate.parse::<f64>().ok()
        });
        let rate = rate.with_context(|| format!("pgbench says no rate: {said}"))?;
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
            threads: clients.min(2) as u64,
            peak_bytes: usage.max_rss() as u64 * 1024,
            wal_bytes: cost.wal_bytes,
            program_switches: cost.program_switches,
            server_switches: cost.server_switches,
        })
    }
}

impl Side for Pgbench {
    fn obey(&mut self, order: Order) -> Result<Answer> {
        match order {
            Order::Fill {
                sessions,
                value_bytes,
            } => self.fill(sessions, value_bytes)?,
            Order::Vacuum => self.runtime.block_on(vacuum(&self.admin, by_hand::TABLE))?,
            Order::Touch => self.runtime.block_on(touch(&self.admin, by_hand::TABLE))?,
            Order::Run(run) => return Ok(Answer::Ran(self.run(&run)?)),
        }
        Ok(Answer::Done)
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
