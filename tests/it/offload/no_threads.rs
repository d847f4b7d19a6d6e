//! An operating system that cannot start another thread.

#![cfg(target_os = "linux")]

use std::{
    fs,
    process::{self, Command},
    time::Duration,
};

use session_postgres::{AsyncStore, Error, MemoryStore, Offload, PostgresStore};
use tokio::runtime::Builder;

use crate::support::{child, database::Schema, patiently};

/// Runs the test in a child process. Its threads have stacks of 1 GiB, so a limit of the address space prevents
/// another thread. The C library does not cache stacks of that size.
fn in_child(test: &str) -> bool {
    if child::is_for(test) {
        return true;
    }
    // The limit leaves too little memory for a backtrace of tokio's panic.
    let environment = [("RUST_MIN_STACK", "1073741824"), ("RUST_BACKTRACE", "0")];
    let text = child::run_with(test, &environment);
    assert!(text.contains("the child is done"), "{text}");
    false
}

/// Makes it impossible for the process to start a thread.
fn prevent_threads() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find(|line| line.starts_with("VmSize"));
    let kilobytes = size.unwrap().split_whitespace().nth(1).unwrap();
    let heap = 256 << 20;
    limit(&(kilobytes.parse::<u64>().unwrap() * 1024 + heap).to_string());
    let failed = std::thread::Builder::new().spawn(|| ()).unwrap_err();
    assert_eq!(failed.kind(), std::io::ErrorKind::WouldBlock);
}

fn allow_threads() {
    limit("unlimited");
}

/// Sets the soft limit of the address space of this process.
fn limit(bytes: &str) {
    let mut command = Command::new("prlimit");
    command.args([
        "--pid",
        &process::id().to_string(),
        &format!("--as={bytes}:"),
    ]);
    assert!(command.status().unwrap().success());
}

#[test]
fn calls_succeed_as_soon_as_a_thread_can_be_started() {
    if !in_child("offload::no_threads::calls_succeed_as_soon_as_a_thread_can_be_started") {
        return;
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let builder = Offload::builder().timeout(Duration::from_millis(300));
    let store = builder.build(MemoryStore::new());
    prevent_threads();
    for _ in 0..3 {
        let late = runtime.block_on(store.generate(None, None));
        assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    }
    assert_eq!(store.stats().batches.calls, 0);
    allow_threads();
    // Only the call itself can start the thread.
    patiently(|| runtime.block_on(store.generate(None, None)));
    eprintln!("the child is done");
}

#[test]
fn the_last_handle_can_be_dropped_if_no_thread_can_be_started() {
    if !in_child("offload::no_threads::the_last_handle_can_be_dropped_if_no_thread_can_be_started")
    {
        return;
    }
    let schema = Schema::new();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let single = Offload::new(PostgresStore::from_client(schema.client()));
    let pooled = Offload::new(schema.store());
    prevent_threads();
    runtime.block_on(async {
        drop(single);
        drop(pooled);
    });
    allow_threads();
    eprintln!("the child is done");
}
