//! What a run costs: processor time, memory, threads, write-ahead log.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};
use procfs::process::{Process, all_processes};
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

/// Of one run. Sums, not yet divided by the calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) calls: usize,
    pub(crate) seconds: f64,
    /// Microseconds.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// Processor seconds of the peer's process.
    pub(crate) program_cpu: f64,
    /// Processor seconds of all of the server's processes.
    pub(crate) server_cpu: f64,
    pub(crate) threads: u64,
    /// The most memory that the peer's process had at once.
    pub(crate) peak_bytes: u64,
    pub(crate) wal_bytes: u64,
    /// How often a processor was taken from or given up by a thread of the peer's process, or of the
    /// server: what waking each other costs.
    pub(crate) program_switches: u64,
    pub(crate) server_switches: u64,
}

impl Figures {
    pub(crate) fn rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    fn each(&self, sum: f64) -> f64 {
        sum / self.calls.max(1) as f64
    }

    /// Microseconds of processor time a call.
    pub(crate) fn program_micros(&self) -> f64 {
        self.each(self.program_cpu * 1e6)
    }

    pub(crate) fn server_micros(&self) -> f64 {
        self.each(self.server_cpu * 1e6)
    }

    pub(crate) fn cpu_micros(&self) -> f64 {
        self.program_micros() + self.server_micros()
    }

    pub(crate) fn wal(&self) -> f64 {
        self.each(self.wal_bytes as f64)
    }

    pub(crate) fn program_switches(&self) -> f64 {
        self.each(self.program_switches as f64)
    }

    pub(crate) fn server_switches(&self) -> f64 {
        self.each(self.server_switches as f64)
    }
}

/// Reads the meters of this process and of the server.
pub(crate) struct Meters {
    who: UsageWho,
    postmaster: i32,
}

/// What the meters say at some time.
pub(crate) struct Reading {
    /// The server's processes. Later ones are not seen before they have ended.
    processes: Vec<Process>,
    program: Used,
    server: Used,
    wal: u64,
}

/// What threads have used so far.
#[derive(Clone, Copy, Default)]
struct Used {
    cpu: Duration,
    switches: u64,
}

impl Used {
    fn add(&mut self, other: Used) {
        self.cpu += other.cpu;
        self.switches += other.switches;
    }

    /// A process that ends takes its switches with it.
    fn since(self, before: Used) -> Used {
        Used {
            cpu: self.cpu.saturating_sub(before.cpu),
            switches: self.switches.saturating_sub(before.switches),
        }
    }
}

/// What a run took.
pub(crate) struct Cost {
    pub(crate) program_cpu: f64,
    pub(crate) server_cpu: f64,
    pub(crate) wal_bytes: u64,
    pub(crate) program_switches: u64,
    pub(crate) server_switches: u64,
}

impl Meters {
    /// `who` is this process, or the children that it has waited for.
    pub(crate) async fn new(admin: &Client, who: UsageWho) -> Result<Meters> {
        let row = admin.query_one("SELECT pg_backend_pid()", &[]).await?;
        let postmaster = Process::new(row.get(0))
            .and_then(|backend| backend.stat())
            .context("the server's processes are not to be seen in /proc")?
            .ppid;
        Ok(Meters { who, postmaster })
    }

    pub(crate) async fn read(&self, admin: &Client) -> Result<Reading> {
        let wal = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
        let wal: i64 = admin.query_one(wal, &[]).await?.get(0);
        let processes = self.processes()?;
        Ok(Reading {
            wal: wal as u64,
            server: self.server(&processes)?,
            program: self.program()?,
            processes,
        })
    }

    pub(crate) async fn since(&self, before: &Reading, admin: &Client) -> Result<Cost> {
        // The other way round: what it takes to read is not to be in it.
        let program = self.program()?.since(before.program);
        let server = self.server(&before.processes)?.since(before.server);
        let now = self.read(admin).await?;
        Ok(Cost {
            program_cpu: program.cpu.as_secs_f64(),
            server_cpu: server.cpu.as_secs_f64(),
            wal_bytes: now.wal - before.wal,
            program_switches: program.switches,
            server_switches: server.switches,
        })
    }

    fn program(&self) -> Result<Used> {
        let usage = getrusage(self.who)?;
        let micros = |time: TimeVal| Duration::from_micros(time.num_microseconds() as u64);
        Ok(Used {
            cpu: micros(usage.user_time()) + micros(usage.system_time()),
            switches: (usage.voluntary_context_switches() + usage.involuntary_context_switches())
                as u64,
        })
    }

    fn processes(&self) -> Result<Vec<Process>> {
        let of_the_server = |process: &Process| {
            process
                .stat()
                .is_ok_and(|stat| stat.ppid == self.postmaster)
        };
        Ok(all_processes()?.flatten().filter(of_the_server).collect())
    }

    /// The time of processes that have ended is in what their parent has waited for.
    fn server(&self, processes: &[Process]) -> Result<Used> {
        let postmaster = Process::new(self.postmaster)?;
        let stat = postmaster.stat()?;
        let ended = (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64;
        let mut sum = Used {
            cpu: Duration::from_secs_f64(ended),
            switches: 0,
        };
        for process in processes.iter().chain([&postmaster]) {
            sum.add(used(process).unwrap_or_default());
        }
        Ok(sum)
    }
}

/// What a process of one thread has used. `stat` only knows hundredths of a second.
fn used(process: &Process) -> Option<Used> {
    let nanos = process.schedstat().ok()?.sum_exec_runtime;
    let status = process.status().ok()?;
    Some(Used {
        cpu: Duration::from_nanos(nanos),
        switches: status.voluntary_ctxt_switches? + status.nonvoluntary_ctxt_switches?,
    })
}

/// Lets the peak of this process's memory begin anew.
pub(crate) fn forget_peak() {
    // Where that is not allowed, the peak is that of all runs so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// How many threads this process has, and the peak of its memory.
pub(crate) fn threads_and_peak() -> Result<(u64, u64)> {
    let status = Process::myself()?.status()?;
    Ok((status.threads, status.vmhwm.unwrap_or_default() * 1024))
}

/// What so many in a hundred of the latencies do not exceed, in microseconds.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[last * percent / 100].as_secs_f64() * 1e6)
}
