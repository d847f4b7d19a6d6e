//! Starts the process of a proxy.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::rtt::Rtt;

/// The process ends when its stdin is closed.
pub(crate) struct Proxy {
    pub(crate) rtt: Rtt,
    child: Child,
    /// In the order of the targets.
    ports: Vec<u16>,
}

impl Proxy {
    /// Starts a proxy with a port for each of the targets, which are ports too.
    pub(crate) fn start(rtt: Rtt, targets: &[u16]) -> Result<Proxy> {
        let mut child = Command::new(env::current_exe()?)
            .arg("proxy")
            .arg((rtt.length().as_secs_f64() * 1e3).to_string())
            .args(targets.iter().map(u16::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a proxy")?;
        let output = child.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let ports = line.split_whitespace().map(str::parse);
        let ports = ports.collect::<Result<Vec<_>, _>>()?;
        ensure!(ports.len() == targets.len(), "the proxy did not start");
        Ok(Proxy { rtt, child, ports })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the port that leads to a target.
    pub(crate) fn port(&self, target: usize) -> u16 {
        self.ports[target]
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
