//! Reads what a run costs: processor time, context switches, write-ahead log, memory and threads.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};
use procfs::process::{Process, all_processes};
use tokio_postgres::Client;

/// Reads the cost of this process, or of its children, and of the server.
pub(crate) struct Meters {
    who: UsageWho,
    postmaster: i32,
}

pub(crate) struct Reading {
    /// The server's processes. Those that start later count only after they have ended.
    processes: Vec<Process>,
    program: Used,
    server: Used,
    wal: u64,
}

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

    /// Saturates, because the switches of a process that has ended are unknown.
    fn since(self, before: Used) -> Used {
        Used {
            cpu: self.cpu.saturating_sub(before.cpu),
            switches: self.switches.saturating_sub(before.switches),
        }
    }
}

/// The difference of two readings.
pub(crate) struct Cost {
    pub(crate) program_cpu: f64,
    pub(crate) server_cpu: f64,
    pub(crate) wal_bytes: u64,
    pub(crate) program_switches: u64,
    pub(crate) server_switches: u64,
}

impl Meters {
    /// `who` selects this process, or the children that it has waited for.
    pub(crate) async fn new(admin: &Client, who: UsageWho) -> Result<Meters> {
        let row = admin.query_one("SELECT pg_backend_pid()", &[]).await?;
        let postmaster = Process::new(row.get(0))
            .and_then(|backend| backend.stat())
            .context("the server's processes are not visible in /proc")?
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
        // In the reverse order of `read`, so that the cost of reading is not included.
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

    /// Includes the processor time of processes that have ended, which the postmaster has collected.
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

/// For a process with one thread. Uses `schedstat`, because the resolution of `stat` is a hundredth of a second.
fn used(process: &Process) -> Option<Used> {
    let nanos = process.schedstat().ok()?.sum_exec_runtime;
    let status = process.status().ok()?;
    Some(Used {
        cpu: Duration::from_nanos(nanos),
        switches: status.voluntary_ctxt_switches? + status.nonvoluntary_ctxt_switches?,
    })
}

/// Resets the peak memory of this process.
pub(crate) fn reset_peak() {
    // If this is not allowed, the peak is the highest of all runs so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Returns the number of threads of this process and its peak memory in bytes.
pub(crate) fn threads_and_peak() -> Result<(u64, u64)> {
    let status = Process::myself()?.status()?;
    Ok((status.threads, status.vmhwm.unwrap_or_default() * 1024))
}
