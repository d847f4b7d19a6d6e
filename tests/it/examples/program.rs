//! An example that runs as a program of its own; the tests in a browser use this too.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A web server of `examples/`, which ends with the test.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// Cargo puts the examples next to the folder of the tests.
pub(crate) fn command(name: &str) -> Command {
    let this = env::current_exe().unwrap();
    let folder = this.ancestors().nth(2).unwrap();
    Command::new(folder.join("examples").join(name))
}

impl Program {
    /// Starts it on a free port, unless the settings say another, and waits until it listens.
    pub(crate) fn start(name: &str, database_url: &str, settings: &[(&str, &str)]) -> Program {
        let mut child = command(name)
            .env("DATABASE_URL", database_url)
            .env("LISTEN", "127.0.0.1:0")
            .env_remove("ORIGIN")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example, which `cargo build --examples` makes");
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        // What else it says is read, and nobody's business.
        thread::spawn(move || said.read_to_end(&mut Vec::new()));
        let Some(address) = line.strip_prefix("Listening on ") else {
            panic!("it says {line:?} and {:?}", log(&mut child));
        };
        let address = address.split_once(". ").unwrap().0.parse().unwrap();
        Program { child, address }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.unwrap().success());
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it has logged until its end.
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
