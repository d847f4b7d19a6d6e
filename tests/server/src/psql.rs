//! SQL through `psql`, so that there need be no client here.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::Error;
use crate::supervisor::{spawn, until, without_settings};

/// Runs the commands one by one, each in a transaction of its own, and returns what they print.
pub(crate) fn psql(bin: &Path, url: &str, commands: &[&str]) -> Result<String, Error> {
    let mut command = Command::new(bin.join("psql"));
    command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url]);
    command.args(commands.iter().flat_map(|sql| ["-c", sql]));
    without_settings(&mut command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir("/");
    let output = run(&mut command).map_err(|error| {
        Error::new(match error.kind() {
            io::ErrorKind::NotFound => format!("there is no psql in {}", bin.display()),
            _ => format!("cannot run psql: {error}"),
        })
    })??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("psql says: {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Not for long output: nobody reads it before the end.
fn run(command: &mut Command) -> io::Result<Result<Output, Error>> {
    let mut child = spawn(command)?;
    let ended = until("psql", || {
        child
            .try_wait()
            .map(|ended| ended.is_some())
            .map_err(Error::io("cannot wait for psql"))
    });
    if ended.is_err() {
        let _ = child.kill();
    }
    let output = child.wait_with_output()?;
    Ok(ended.map(|()| output))
}

/// As a literal in SQL.
pub(crate) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
