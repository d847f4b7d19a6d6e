//! Starts the process of a peer and sends requests to it.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use throwaway_postgres::Server;

use crate::{
    network::{Network, Target},
    peer::pgbench,
    protocol::{Request, Response},
    rtt::Rtt,
};

/// Each peer has its own process, so that its memory, threads and processor time can be measured. The process
/// ends when its stdin is closed.
pub(crate) struct Process {
    pub(crate) name: String,
    target: Target,
    child: Child,
    requests: Option<ChildStdin>,
    responses: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start(
        name: String,
        target: Target,
        network: &Network,
        server: &Server,
    ) -> Result<Process> {
        let direct = network.way(&target, Rtt::NONE)?;
        let mut child = Command::new(env::current_exe()?)
            .args(["serve", &name, &direct.url])
            .env(pgbench::BIN, server.bin_dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let responses = child.stdout.take().context("no stdout")?;
        Ok(Process {
            name,
            target,
            requests: child.stdin.take(),
            responses: BufReader::new(responses).lines(),
            child,
        })
    }

    /// Makes the peer connect to its server with round trips of this length.
    pub(crate) fn connect(&mut self, network: &Network, rtt: Rtt) -> Result<()> {
        let way = network.way(&self.target, rtt)?;
        self.send(&Request::Connect(way)).map(|_| ())
    }

    /// Sends the request and waits for the response.
    pub(crate) fn send(&mut self, request: &Request) -> Result<Response> {
        let failed = format!("{}: {request:?}", self.name);
        match self.exchange(request).context(failed.clone())? {
            Response::Failed(reason) => bail!("{failed}: {reason}"),
            response => Ok(response),
        }
    }

    fn exchange(&mut self, request: &Request) -> Result<Response> {
        let requests = self.requests.as_mut().context("no stdin")?;
        writeln!(requests, "{}", serde_json::to_string(request)?)?;
        let response = self.responses.next().context("the process has ended")??;
        Ok(serde_json::from_str(&response)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}
