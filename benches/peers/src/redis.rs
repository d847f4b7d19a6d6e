//! A Redis server for a run.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// Starts `redis-server` in a temporary directory. At the end of its standard input, which comes also if this process
/// is killed, it kills the server and removes the directory.
const SUPERVISOR: &str = r#"
trap '' HUP INT TERM
dir=$(mktemp -d "$1/redis.XXXXXX") || exit 1
shift
redis-server --dir "$dir" "$@" </dev/null >"$dir/log" 2>&1 &
pid=$!
exec 2>/dev/null
echo started
read -r _
kill -KILL "$pid"
wait "$pid"
rm -rf "$dir"
"#;

/// How long the server may take to start.
const LIMIT: Duration = Duration::from_secs(10);

/// Dropping it stops the server.
pub(crate) struct Redis {
    supervisor: Child,
    pub(crate) port: u16,
}

/// Returns the version of the installed server, or `None` if it is not installed.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("redis-server").arg("--version").output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    let version = text.split(' ').find_map(|word| word.strip_prefix("v="))?;
    Some(format!("Redis {version}"))
}

impl Redis {
    /// Starts a server that keeps its data only in memory, or that also writes each change to its log on disk before
    /// it answers (`is_durable`). It never writes snapshots, and never rewrites the log.
    pub(crate) fn start(is_durable: bool) -> Result<Redis> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        drop(listener);
        let log: &[_] = if is_durable {
            &["--appendonly", "yes", "--appendfsync", "always"]
        } else {
            &["--appendonly", "no"]
        };
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, "redis"])
            .arg(env::temp_dir())
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
            ])
            .args(["--auto-aof-rewrite-percentage", "0"])
            .args(log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the supervisor of Redis")?;
        let output = supervisor.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.trim() == "started", "cannot start Redis");
        let redis = Redis { supervisor, port };
        redis.wait()?;
        Ok(redis)
    }

    fn wait(&self) -> Result<()> {
        let start = Instant::now();
        while !self.answers() {
            if start.elapsed() > LIMIT {
                bail!("Redis does not answer on port {}", self.port);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        let ping = || {
            let mut redis = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            redis.write_all(b"PING\r\n")?;
            let mut answer = [0; 7];
            redis.read_exact(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        ping().is_ok_and(|answer| answer == *b"+PONG\r\n")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}
