//! Helpers of the test programs.

#![allow(dead_code, reason = "each test program uses some of them")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use throwaway_postgres::Server;

/// A directory for certificates, deleted at the end.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new(name: &str) -> Self {
        let dir = env::temp_dir().join(format!("certificates-{name}-{}", process::id()));
        fs::create_dir(&dir).expect("a new directory");
        Self(dir)
    }

    /// Writes a file that only this user can read, because `psql` refuses other private keys.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path.display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until the condition holds. Panics after 30 seconds.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        let waited = start.elapsed();
        assert!(
            waited < Duration::from_secs(30),
            "waited too long for {what}"
        );
        sleep(Duration::from_millis(5));
    }
}

/// Returns a command that connects `psql` to the server.
pub(crate) fn psql(server: &Server, url: &str) -> Command {
    let mut psql = Command::new(server.bin_dir().join("psql"));
    psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url])
        .stdin(Stdio::null());
    psql
}

/// Runs SQL with `psql` and returns the output.
pub(crate) fn sql(server: &Server, url: &str, sql: &str) -> String {
    printed(&psql(server, url).args(["-c", sql]).output().expect("psql"))
}

/// Returns the output of a program that must have succeeded.
pub(crate) fn printed(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a script with the shell.
pub(crate) fn shell(script: &str) -> Output {
    let output = Command::new("/bin/sh").args(["-c", script]).output();
    output.expect("a shell")
}
