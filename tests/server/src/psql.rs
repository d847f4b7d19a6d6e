//! SQL through `psql`, so that this crate needs no PostgreSQL client library.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::Error;
use crate::command::{spawn, without_pg_variables};
use crate::wait::wait_until;

/// Runs the commands one by one, each in its own transaction, and returns their output.
pub(crate) fn psql(bin: &Path, url: &str, commands: &[&str]) -> Result<String, Error> {
    let mut command = Command::new(bin.join("psql"));
    command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url]);
    command.args(commands.iter().flat_map(|sql| ["-c", sql]));
    without_pg_variables(&mut command);
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
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("psql failed: {}", stderr.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Waits for the end of the command. Its output must fit into a pipe, because it is read only afterwards.
fn run(command: &mut Command) -> io::Result<Result<Output, Error>> {
    let mut child = spawn(command)?;
    let ended = wait_until("psql", || {
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

/// Quotes a value as an SQL literal.
pub(crate) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
