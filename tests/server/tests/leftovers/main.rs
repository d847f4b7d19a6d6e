//! Nothing is left of a server after the end of the process that started it, however that process ends.

mod child;
mod processes;
mod run;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use throwaway_postgres::Server;

use child::{TempDir, With, child_command};
use processes::{group_of, processes_with};
use run::Run;
use support::{shell, wait_until};

const SIGINT: i32 = 2;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

#[test]
fn nothing_is_left_when_the_process_returns_exits_panics_or_aborts() {
    let ends = [
        ("return", Some(0), None),
        ("exit", Some(0), None),
        ("panic", Some(101), None),
        ("abort", None, Some(SIGABRT)),
    ];
    // They run at the same time.
    for (mut run, (end, code, signal)) in ends.map(|end| (Run::start(end.0), end)) {
        run.wait_for_ready();
        let status = run.end();
        assert_eq!((status.code(), status.signal()), (code, signal), "{end}");
        run.assert_nothing_left();
    }
}

#[test]
fn nothing_is_left_when_the_process_is_killed() {
    for with in [With::Server, With::StandbyAndPooler, With::PausedStandby] {
        let mut run = Run::start_with("return", with);
        run.wait_for_ready();
        assert_eq!(run.kill().signal(), Some(SIGKILL));
        run.assert_nothing_left();
    }
}

/// Moments during `initdb` and the start of the server.
#[test]
fn nothing_is_left_when_the_process_is_killed_while_the_server_starts() {
    for file in [
        "data",
        "data/PG_VERSION",
        "data/postgresql.conf",
        "data/base/1/PG_VERSION",
        "data/base/5",
        "data/postmaster.pid",
    ] {
        kill_when_there_is(file, With::Server);
    }
}

/// Moments during the copy for the standby, its start, and the start of the pooler.
#[test]
fn nothing_is_left_when_the_process_is_killed_while_a_standby_or_pooler_starts() {
    let has_pgbouncer = shell("PATH=$PATH:/usr/sbin:/usr/local/sbin; command -v pgbouncer");
    let files = ["data/backup_label", "data/standby.signal", "pgbouncer.ini"];
    let count = if has_pgbouncer.status.success() { 3 } else { 2 };
    for file in &files[..count] {
        kill_when_there_is(file, With::StandbyAndPooler);
    }
}

/// Kills the process as soon as one of its directories contains the file.
fn kill_when_there_is(file: &str, with: With) {
    let mut run = Run::start_with("return", with);
    wait_until(file, || {
        run.directories().iter().any(|dir| dir.join(file).exists())
    });
    run.kill();
    run.assert_nothing_left();
}

/// Ctrl-C in a terminal sends SIGINT to the whole process group.
#[test]
fn nothing_is_left_after_ctrl_c() {
    let Some(mut run) = Run::start_interruptible() else {
        eprintln!("skipped: SIGINT is ignored here, and `env` cannot restore its default action");
        return;
    };
    run.wait_for_ready();
    let group = run.child.id();
    for pid in run.processes() {
        assert_ne!(
            group_of(&pid),
            group.to_string(),
            "process {pid} gets the terminal's signals"
        );
    }
    let sent = shell(&format!("kill -s INT -- -{group}"));
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(run.child.wait().expect("an end").signal(), Some(SIGINT));
    run.assert_nothing_left();
}

#[test]
fn signals_do_not_keep_the_supervisor_from_its_work() {
    let mut run = Run::start("return");
    run.wait_for_ready();
    let supervisors = processes_with(&format!("throwaway-postgres {}", run.temp.0.display()));
    assert_eq!(supervisors.len(), 1);
    for signal in ["INT", "TERM", "HUP"] {
        let sent = shell(&format!("kill -s {signal} {}", supervisors.join(" ")));
        assert!(sent.status.success(), "{sent:?}");
    }
    run.kill();
    run.assert_nothing_left();
}

/// A program that reads the output of the tests must see its end when the tests end.
#[test]
fn no_process_of_a_server_holds_the_output_of_the_tests() {
    if !Path::new("/proc/self/fd").exists() {
        return;
    }
    let mut run = Run::start("return");
    run.wait_for_ready();
    let open_files = |pid: &str| -> Vec<PathBuf> {
        // There are none if the process, a short-lived one of the server, has ended in the meantime.
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
        files
            .flatten()
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .collect()
    };
    let output = fs::read_link(format!("/proc/{}/fd/1", run.child.id())).expect("a pipe");
    let processes = run.processes();
    assert!(processes.len() >= 2, "the supervisor and the server");
    for pid in processes {
        assert!(
            !open_files(&pid).contains(&output),
            "{pid} holds the output"
        );
    }
}

#[test]
fn nothing_is_left_after_a_server_is_dropped() {
    let server = Server::start().expect("a server");
    let dir = server.socket_dir().to_owned();
    let mode = fs::metadata(&dir).expect("a directory").permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
    drop(server);
    assert!(!dir.exists());
    assert!(processes_with(&dir.to_string_lossy()).is_empty());
}

#[test]
fn nothing_is_left_after_a_start_that_fails() {
    let temp = TempDir::new();
    let output = child_command("return", &temp.0)
        .env("PG_BIN", "/nowhere")
        .stderr(Stdio::piped())
        .output()
        .expect("a child");
    assert_eq!(output.status.code(), Some(101));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PG_BIN is /nowhere"));
    let mut left = fs::read_dir(&temp.0).expect("the directory");
    assert!(left.next().is_none());
}
