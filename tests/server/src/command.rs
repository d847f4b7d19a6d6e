//! Starting other programs.

use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::{env, io};

/// Starts a program, one at a time: some systems cannot create a pipe and mark it as close-on-exec in one
/// step, so a second program could inherit the pipes of the first.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Removes libpq's environment variables, such as `PGHOST`, so that they do not affect the program.
pub(crate) fn without_pg_variables(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
}
