//! Very many callers at once.

use std::{fs, sync::Arc};

use session_postgres::{AsyncStore, Offload};
use tokio::{runtime::Builder, sync::Barrier, task::JoinSet};

use crate::support::database::Schema;

/// How many threads of this process have the name.
fn threads_named(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("comm")));
    names
        .flatten()
        .filter(|comm| comm.trim_end() == name)
        .count()
}

#[test]
#[cfg(target_os = "linux")]
fn ten_thousand_callers_need_no_more_threads_than_lanes_and_are_all_right() {
    const CALLERS: usize = 10_000;
    const LANES: usize = 4;
    const WORKERS: usize = 2;
    let name = "sp-crowd";
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name(name)
        .enable_time()
        .build()
        .unwrap();
    let schema = Schema::new();
    let store = Offload::new(schema.store());
    let most = runtime.block_on(async {
        let all_there = Arc::new(Barrier::new(CALLERS));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (store, all_there) = (store.clone(), all_there.clone());
            callers.spawn(async move {
                all_there.wait().await;
                let value = caller.to_string();
                let key = store.generate(Some(&value), None).await.unwrap();
                assert_eq!(store.get(&key).await.unwrap().value, value);
            });
        }
        let mut most = 0;
        let mut done = 0;
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
            done += 1;
            if done % 500 == 0 {
                most = most.max(threads_named(name));
            }
        }
        most
    });
    assert!(most <= WORKERS + LANES, "{most} threads");
    assert_eq!(store.stats().calls, 2 * CALLERS as u64);
}
