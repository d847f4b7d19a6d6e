//! Ten thousand callers at the same time.

#![cfg(target_os = "linux")]

use std::{fs, sync::Arc};

use session_postgres::{AsyncStore, Offload};
use tokio::{runtime::Builder, sync::Barrier, task::JoinSet};

use crate::support::{child, database::Schema};

const CALLERS: usize = 10_000;
const LIMIT: usize = 4;
const WORKERS: usize = 2;

/// The memory for all calls, including the tasks of the callers.
const MOST_MEMORY: u64 = 24 << 20;

/// The name of the threads of the runtime.
const NAME: &str = "sp-many";

/// The test runs in its own process, so that it can measure the memory.
const CHILD: &str = "offload::many_callers::in_a_child";

#[test]
fn ten_thousand_callers_need_few_threads_and_little_memory() {
    let text = child::run(CHILD);
    let figures = text.lines().find(|line| line.contains("callers: "));
    eprintln!("{}", figures.expect("the output of the child"));
}

#[test]
fn in_a_child() {
    if !child::is_for(CHILD) {
        return;
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name(NAME)
        .enable_time()
        .build()
        .unwrap();
    let schema = Schema::new();
    let store = Offload::new(schema.store());
    // This prepares the statements and starts the threads.
    runtime.block_on(call(&store, 0));
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let idle = memory("VmRSS");
    let threads = runtime.block_on(call_at_once(&store));
    let more = memory("VmHWM") - idle;
    eprintln!(
        "{CALLERS} callers: at most {threads} threads for {WORKERS} tokio threads and {LIMIT} workers, \
         and {:.1} MB more than idle",
        more as f64 / f64::from(1 << 20)
    );
    assert!(threads <= WORKERS + LIMIT);
    assert!(more < MOST_MEMORY);
    assert_eq!(store.stats().batches.calls, 2 * (CALLERS as u64 + 1));
}

async fn call<S: AsyncStore>(store: &S, caller: usize) {
    let value = caller.to_string();
    let key = store.generate(Some(&value), None).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().value, value);
}

/// Starts all callers at the same time. Returns the largest number of threads of the runtime.
async fn call_at_once<S: AsyncStore + Clone>(store: &S) -> usize {
    let all_there = Arc::new(Barrier::new(CALLERS));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (store, all_there) = (store.clone(), all_there.clone());
        callers.spawn(async move {
            all_there.wait().await;
            call(&store, caller).await;
        });
    }
    let mut most = 0;
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
        if callers.len() % 500 == 0 {
            most = most.max(threads());
        }
    }
    most
}

/// Returns the number of threads of the runtime.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("comm")));
    names
        .flatten()
        .filter(|comm| comm.trim_end() == NAME)
        .count()
}

/// Returns a value of `/proc/self/status` in bytes.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|found| found.starts_with(line));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}
