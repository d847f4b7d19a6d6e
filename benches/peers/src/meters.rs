//! Reads what a run costs: processor time, context switches, log, memory and threads.

use std::{fs, time::Duration};

use anyhow::Result;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};
use procfs::process::{Process, all_processes};

use crate::admin::Admin;

/// The processes of a server.
pub(crate) enum Server {
    /// Processes with children, which have one thread each. There are several if the sessions are on several servers.
    Postgres { postmasters: Vec<i32> },
    /// A process with threads.
    Redis { pid: i32 },
}

/// Reads the cost of this process, or of its children, and of the server and the proxy.
pub(crate) struct Meters {
    who: UsageWho,
    server: Server,
    /// The process of the proxy, if there is one.
    pub(crate) proxy: Option<u32>,
}

pub(crate) struct Reading {
    /// The server's processes. Those that start later count only after they have ended.
    processes: Vec<Process>,
    program: Used,
    server: Used,
    proxy: Option<Used>,
    log: Option<u64>,
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
    pub(crate) proxy_cpu: Option<f64>,
    pub(crate) log_bytes: Option<u64>,
    pub(crate) program_switches: u64,
    pub(crate) server_switches: u64,
}

impl Meters {
    /// `who` selects this process, or the children that it has waited for.
    pub(crate) async fn new(admin: &impl Admin, who: UsageWho) -> Result<Meters> {
        Ok(Meters {
            who,
            server: admin.server().await?,
            proxy: None,
        })
    }

    pub(crate) async fn read(&self, admin: &impl Admin) -> Result<Reading> {
        let log = admin.log_bytes().await?;
        let processes = self.processes()?;
        Ok(Reading {
            log,
            server: self.server(&processes)?,
            proxy: self.proxy()?,
            program: self.program()?,
            processes,
        })
    }

    pub(crate) async fn since(&self, before: &Reading, admin: &impl Admin) -> Result<Cost> {
        // In the reverse order of `read`, so that the cost of reading is not included.
        let program = self.program()?.since(before.program);
        let proxy = self.proxy()?.zip(before.proxy);
        let server = self.server(&before.processes)?.since(before.server);
        let log = admin.log_bytes().await?.zip(before.log);
        Ok(Cost {
            program_cpu: program.cpu.as_secs_f64(),
            server_cpu: server.cpu.as_secs_f64(),
            proxy_cpu: proxy.map(|(now, before)| now.since(before).cpu.as_secs_f64()),
            log_bytes: log.map(|(now, before)| now.saturating_sub(before)),
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

    fn proxy(&self) -> Result<Option<Used>> {
        let proxy = self.proxy.map(|pid| Process::new(pid as i32)).transpose()?;
        Ok(proxy.as_ref().map(used).transpose()?)
    }

    fn processes(&self) -> Result<Vec<Process>> {
        match &self.server {
            Server::Postgres { postmasters } => {
                let is_child = |parent| postmasters.contains(&parent);
                let of_the_server =
                    |process: &Process| process.stat().is_ok_and(|stat| is_child(stat.ppid));
                Ok(all_processes()?.flatten().filter(of_the_server).collect())
            }
            Server::Redis { pid } => Ok(vec![Process::new(*pid)?]),
        }
    }

    fn server(&self, processes: &[Process]) -> Result<Used> {
        let mut sum = Used::default();
        if let Server::Postgres { postmasters } = &self.server {
            for postmaster in postmasters {
                let postmaster = Process::new(*postmaster)?;
                sum.add(used(&postmaster)?);
                // The processor time of processes that have ended, which the postmaster has collected.
                let stat = postmaster.stat()?;
                let ended = (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64;
                sum.cpu += Duration::from_secs_f64(ended);
            }
        }
        for process in processes {
            // The process may have ended.
            sum.add(used(process).unwrap_or_default());
        }
        Ok(sum)
    }
}

/// Sums over the threads of a process. Uses `schedstat`, because the resolution of `stat` is a hundredth of a second.
fn used(process: &Process) -> procfs::ProcResult<Used> {
    let mut sum = Used::default();
    for thread in process.tasks()? {
        let thread = thread?;
        let status = thread.status()?;
        let switches = [
            status.voluntary_ctxt_switches,
            status.nonvoluntary_ctxt_switches,
        ];
        sum.add(Used {
            cpu: Duration::from_nanos(thread.schedstat()?.sum_exec_runtime),
            switches: switches.into_iter().flatten().sum(),
        });
    }
    Ok(sum)
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
