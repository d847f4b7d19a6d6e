//! Calls whose time is up while the server works, or waits for a lock.

use std::{pin::Pin, sync::mpsc, time::Duration};

use session_postgres::{AsyncStore, Error, Key, Offload, OffloadBuilder, PostgresStore, Store};
use tokio::{runtime::Builder, task::JoinSet, time::timeout};

use crate::support::{
    PATIENCE,
    database::{Schema, lock},
    patiently, wait_until,
};

type BoxFuture = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

const WORKERS: usize = 4;

/// A facade whose time is short, on a store that by itself would wait for longer than a test does.
fn hurried(schema: &Schema) -> Offload<PostgresStore> {
    let patient = schema.builder().timeout(PATIENCE * 10);
    let store = patient.from_pool(schema.pool(WORKERS as u32));
    store.create_table().unwrap();
    OffloadBuilder::default()
        .max_concurrency(WORKERS)
        .timeout(Duration::from_millis(300))
        .build(store)
}

/// Waits, as a thread that may block, until no worker has work.
fn wait_for_workers(schema: &Schema, store: &Offload<PostgresStore>) {
    wait_until("the workers to come back", || store.stats().running == 0);
    wait_until("the server to be done", || schema.active() == 0);
}

#[test]
fn workers_that_wait_for_locked_rows_come_back() {
    let schema = Schema::new();
    let store = hurried(&schema);
    let blocking = schema.builder().from_client(schema.client());
    let keys: Vec<_> = (0..WORKERS * 5)
        .map(|_| blocking.generate(Some("lobster"), None).unwrap())
        .collect();
    let free = blocking.generate(Some("shrimp"), None).unwrap();
    // Dropped after the locks: where this fails, the runtime waits for workers that wait for those.
    let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
    let mut holder = schema.client();
    let mut locked = holder.transaction().unwrap();
    let lock = "SELECT FROM session WHERE session_data = 'lobster' FOR UPDATE";
    assert_eq!(locked.execute(lock, &[]).unwrap(), keys.len() as u64);

    runtime.block_on(async {
        let mut calls = JoinSet::new();
        for key in keys.clone() {
            let store = store.clone();
            calls.spawn(async move { store.set(&key, "crab", None).await });
        }
        while let Some(result) = calls.join_next().await {
            let result = result.unwrap();
            assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        }
    });
    wait_for_workers(&schema, &store);
    // The rows are locked still, and nothing is in anybody's way.
    let found = patiently(|| runtime.block_on(store.get(&free)));
    assert_eq!(found.value, "shrimp");
    locked.rollback().unwrap();
    for key in &keys {
        assert_eq!(blocking.get(key).unwrap().value, "lobster");
    }
}

#[test]
fn a_row_that_is_kept_locked_holds_up_no_other_caller() {
    type Call = fn(Offload<PostgresStore>, Key) -> BoxFuture;
    let verbs: [Call; 3] = [
        |store, key| Box::pin(async move { store.set(&key, "crab", None).await }),
        |store, key| Box::pin(async move { store.touch(&key, None).await }),
        |store, key| Box::pin(async move { store.clear(&key).await }),
    ];
    for verb in verbs {
        let schema = Schema::new();
        let inner = schema.store();
        let keys: Vec<_> = (0..40)
            .map(|_| inner.generate(Some("lobster"), None).unwrap())
            .collect();
        let store = OffloadBuilder::default().max_concurrency(1).build(inner);
        let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
        let mut holder = schema.client();
        let locked = lock(&mut holder, &keys[20]);
        // All wait while the worker is busy, and so share a batch.
        let (go, wait) = mpsc::channel();
        let busy = store.clone();
        runtime.spawn(async move { busy.run(move |_| wait.recv()).await });
        wait_until("the worker is busy", || store.stats().running == 1);
        let mut calls = JoinSet::new();
        for key in keys {
            calls.spawn_on(verb(store.clone(), key), runtime.handle());
        }
        wait_until("all wait", || store.stats().waiting == 40);
        go.send(()).unwrap();
        runtime.block_on(async {
            for _ in 0..39 {
                let answer = timeout(PATIENCE, calls.join_next()).await;
                let answer = answer.expect("all but one are answered");
                answer.unwrap().unwrap().unwrap();
            }
        });
        assert_eq!(store.stats().largest_batch, 40);
        locked.rollback().unwrap();
        let last = runtime.block_on(calls.join_next());
        last.unwrap().unwrap().unwrap();
    }
}

#[test]
fn a_closure_of_the_users_own_is_cancelled_on_the_server() {
    let schema = Schema::new();
    let store = hurried(&schema);
    let sql = format!("SELECT pg_sleep(600) -- {}", schema.quoted());
    let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
    wait_until("a worker to take it before its time is up", || {
        let sql = sql.clone();
        let sleep =
            move |store: &PostgresStore| store.with_client(|client| client.batch_execute(&sql));
        match runtime.block_on(store.run(sleep)) {
            // What the closure makes of it is the answer.
            Ok(Ok(slept)) => {
                assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
                true
            }
            Ok(Err(Error::TimedOut { .. })) | Err(Error::TimedOut { .. }) => false,
            other => panic!("{other:?}"),
        }
    });
    wait_for_workers(&schema, &store);
}
