//! Tests that need their own process.

use std::{env, process::Command};

/// The environment variable with the name of the test that a child process runs.
const CHILD: &str = "SESSION_POSTGRES_CHILD";

/// Runs the test with this name in a child process, where [`is_for`] is true. Returns what the child
/// wrote to its standard error.
pub(crate) fn run(test: &str) -> String {
    run_with(test, &[])
}

/// Like [`run`], with these environment variables.
pub(crate) fn run_with(test: &str, variables: &[(&str, &str)]) -> String {
    run_under(&["env"], test, variables)
}

/// Like [`run_with`]. `runner` is the command that starts the child, such as `env`.
pub(crate) fn run_under(runner: &[&str], test: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(runner[0])
        .args(&runner[1..])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .envs(variables.iter().copied())
        .env(CHILD, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Whether this process was started to run this test.
pub(crate) fn is_for(test: &str) -> bool {
    env::var(CHILD).is_ok_and(|child| child == test)
}
