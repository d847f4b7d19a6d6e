//! A system that has no thread for a worker.

#![cfg(target_os = "linux")]

use std::{
    fs,
    process::{self, Command},
    time::Duration,
};

use session_postgres::{AsyncStore, Error, MemoryStore, Offload, PostgresStore};
use tokio::runtime::Builder;

use crate::support::{child, database::Schema, patiently};

/// A child process whose threads need so much for their stacks that the address space can be limited to what
/// it has, and no thread more. The C library keeps no such stack for the next thread.
fn in_child(test: &str) -> bool {
    if child::is_for(test) {
        return true;
    }
    // A backtrace of tokio's panic needs more memory than is left.
    let environment = [("RUST_MIN_STACK", "1073741824"), ("RUST_BACKTRACE", "0")];
    let text = child::run_with(test, &environment);
    assert!(text.contains("the child is done"), "{text}");
    false
}

/// Leaves the process without another thread.
fn refuse_threads() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find(|line| line.starts_with("VmSize"));
    let kilobytes = size.unwrap().split_whitespace().nth(1).unwrap();
    let some_for_the_heap = 256 << 20;
    limit(&(kilobytes.parse::<u64>().unwrap() * 1024 + some_for_the_heap).to_string());
    let refused = std::thread::Builder::new().spawn(|| ()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
}

fn allow_threads() {
    limit("unlimited");
}

/// Sets the soft limit of this process's address space.
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
fn a_facade_without_a_thread_serves_as_soon_as_there_is_one() {
    if !in_child("offload::threads::a_facade_without_a_thread_serves_as_soon_as_there_is_one") {
        return;
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let builder = Offload::builder().timeout(Duration::from_millis(300));
    let store = builder.build(MemoryStore::new());
    refuse_threads();
    for _ in 0..3 {
        let late = runtime.block_on(store.generate(None, None));
        assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    }
    assert_eq!(store.stats().calls, 0);
    allow_threads();
    // No other code starts a thread for what blocks.
    patiently(|| runtime.block_on(store.generate(None, None)));
    eprintln!("the child is done");
}

#[test]
fn the_last_handle_may_be_dropped_when_there_is_no_thread() {
    if !in_child("offload::threads::the_last_handle_may_be_dropped_when_there_is_no_thread") {
        return;
    }
    let schema = Schema::new();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let single = Offload::new(PostgresStore::from_client(schema.client()));
    let pooled = Offload::new(schema.store());
    refuse_threads();
    runtime.block_on(async {
        drop(single);
        drop(pooled);
    });
    allow_threads();
    eprintln!("the child is done");
}
