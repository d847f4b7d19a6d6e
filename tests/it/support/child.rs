//! Tests that need a process to themselves.

use std::{env, process::Command};

/// Names the test that a child process is for.
const CHILD: &str = "SESSION_POSTGRES_CHILD";

/// Runs this program's test of that name in a process of its own, in which it is not skipped. What it
/// wrote to its standard error.
pub(crate) fn run(test: &str) -> String {
    run_with(test, &[])
}

/// As [`run`], with these environment variables.
pub(crate) fn run_with(test: &str, variables: &[(&str, &str)]) -> String {
    run_under(&["env"], test, variables)
}

/// As [`run_with`], by a program that runs others.
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

/// Whether this process was made for that test.
pub(crate) fn is_for(test: &str) -> bool {
    env::var(CHILD).is_ok_and(|child| child == test)
}
