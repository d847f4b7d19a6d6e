//! Helpers for the tests: a server, and files.

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../../../tests/it/support/child.rs"]
pub(crate) mod child;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use postgres_connect::{
    Cancelled, Canceller, ConnectOptions, Connector, Deadline, postgres::Config,
};
use tempfile::TempDir;
use throwaway_postgres::Server;

/// The time limit of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The server that most tests share. It listens on TCP and on a Unix socket.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::builder().tcp(true).start().unwrap())
}

/// Options that connect to the shared server by TCP.
pub(crate) fn options() -> ConnectOptions {
    server().tcp_url().unwrap().parse().unwrap()
}

pub(crate) fn port(server: &Server) -> u16 {
    let config: Config = server.tcp_url().unwrap().parse().unwrap();
    config.get_ports()[0]
}

/// Waits until the condition holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Checks that a statement is cancelled at its deadline, and that the cancel request is over then.
pub(crate) fn cancels(options: &ConnectOptions) {
    let connector = Connector::new(options).unwrap();
    let canceller = Canceller::new(connector.clone());
    let mut client = connector.connect().unwrap();
    let deadline = Deadline::within(Duration::from_millis(200));
    let guard = canceller.guard(client.cancel_token(), &deadline);
    let error = client.batch_execute("SELECT pg_sleep(60)").unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014", "{error}");
    assert_eq!(guard.end(), Cancelled::Over);
    client.batch_execute("SELECT 1").unwrap();
}

/// Files of one test.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let file = self.path().join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    /// Lets every user read a file.
    pub(crate) fn open_to_all(&self, file: &Path) {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
}
