//! An example that runs as a program. The tests in a browser use this too.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A web server of `examples/`, killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The text before the line with the address.
    #[cfg_attr(
        not(all(feature = "metrics", feature = "tower-sessions")),
        allow(dead_code)
    )]
    pub(crate) announced: String,
}

/// Cargo puts the examples into a directory next to that of the tests.
pub(crate) fn command(name: &str) -> Command {
    let this = env::current_exe().unwrap();
    let directory = this.ancestors().nth(2).unwrap();
    Command::new(directory.join("examples").join(name))
}

impl Program {
    /// Starts the example and waits until it listens. The port is free unless the settings choose one.
    pub(crate) fn start(name: &str, database_url: &str, settings: &[(&str, &str)]) -> Program {
        let mut child = command(name)
            .env("DATABASE_URL", database_url)
            .env("LISTEN", "127.0.0.1:0")
            .env_remove("ORIGIN")
            .env_remove("COOKIE_SECRET")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example, which `cargo build --examples` builds");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut announced, mut line) = (String::new(), String::new());
        while stdout.read_line(&mut line).unwrap() > 0 && !line.starts_with("Listening on ") {
            announced += &line;
            line.clear();
        }
        // Reads and ignores the rest, so that the pipe does not fill up.
        thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        let Some(address) = line.strip_prefix("Listening on ") else {
            panic!("unexpected output {announced:?}, log {:?}", log(&mut child));
        };
        let address = address.split_once(". ").unwrap().0.parse().unwrap();
        Program {
            child,
            address,
            announced,
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.unwrap().success());
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until the program has ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the program does not end"
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns everything that the program has logged. Waits until it has ended.
    pub(crate) fn log(&mut self) -> String {
        log(&mut self.child)
    }
}

fn log(child: &mut Child) -> String {
    let mut log = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    log
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
