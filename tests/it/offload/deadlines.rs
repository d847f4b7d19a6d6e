//! Calls that reach their time limit.

use std::{pin::Pin, time::Duration};

use session_postgres::{
    AsyncStore, Error, ErrorKind, Key, Offload, OffloadBuilder, PostgresStore, Store,
};
use tokio::task::JoinSet;

use super::{
    gated_store::{Busy, GatedStore},
    occupy,
    on_postgres::{hold_updates, keys, patient_store, release_updates, wait_for_server},
    runtime,
};
use crate::support::{
    PATIENCE,
    database::{Schema, lock},
    patiently, wait_until,
};

/// The time limit of calls on a store in memory.
const SHORT: Duration = Duration::from_millis(50);

type Call = fn(Offload<GatedStore>, Key) -> Pin<Box<dyn Future<Output = Result<(), Error>>>>;

#[tokio::test]
async fn a_call_that_times_out_while_it_waits_never_runs() {
    let busy = Busy::new(OffloadBuilder::default().timeout(SHORT));
    busy.worker_is_busy().await;
    let late = busy.store.set(&busy.key, "crab", None).await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    // This store cannot cancel a call that runs.
    match busy.first.await.unwrap() {
        Err(Error::StillRunning { waited }) => assert!(waited >= SHORT, "{waited:?}"),
        other => panic!("{other:?}"),
    }
    let calls = busy.store.stats().calls;
    let errors = [ErrorKind::TimedOut, ErrorKind::StillRunning].map(|kind| calls.errors_of(kind));
    assert_eq!(errors, [1, 1]);
    assert_eq!(busy.store.stats().running, 1);

    busy.gate.open();
    while busy.store.stats().running > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(busy.gate.inner().get(&busy.key).unwrap().value, "lobster");
    assert_eq!(busy.gate.batches(), [("get", 1)]);
}

#[tokio::test]
async fn a_late_call_is_still_running_if_the_store_cannot_cancel() {
    let calls: [Call; 3] = [
        |store, key| Box::pin(async move { store.set(&key, "crab", None).await }),
        |store, key| {
            let edit = |_: Option<&str>| Some("crab".to_owned());
            Box::pin(async move { store.update(&key, None, edit).await.map(drop) })
        },
        |store, key| {
            let set = move |store: &GatedStore| store.set(&key, "crab", None);
            Box::pin(async move { store.run(set).await? })
        },
    ];
    for call in calls {
        let gate = GatedStore::default();
        let _opener = gate.opener();
        let key = gate.inner().generate(Some("lobster"), None).unwrap();
        let builder = OffloadBuilder::default().timeout(SHORT);
        let store = builder.build(gate.clone());
        let late = loop {
            let late = call(store.clone(), key.clone()).await;
            // On a busy machine, a worker may not begin in time.
            if gate.arrived() > 0 || !matches!(late, Err(Error::TimedOut { .. })) {
                break late;
            }
        };
        assert!(matches!(late, Err(Error::StillRunning { .. })), "{late:?}");
        assert_eq!(gate.inner().get(&key).unwrap().value, "lobster");

        // The call has its effect later.
        gate.open();
        while store.stats().running > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.inner().get(&key).unwrap().value, "crab");
    }
}

#[test]
fn a_call_for_a_locked_session_times_out_if_no_worker_may_wait_for_the_lock() {
    let schema = Schema::new();
    schema.store();
    let store = patient_store(&schema);
    let key = store.generate(Some("lobster"), None).unwrap();
    let builder = OffloadBuilder::default().max_concurrency(2);
    let store = builder.timeout(Duration::from_millis(500)).build(store);
    let runtime = runtime();
    let mut holder = schema.client();
    let locked = lock(&mut holder, &key);
    // Only one of two workers executes calls that may take long.
    let release = occupy(&store, &runtime);
    let late = runtime.block_on(store.set(&key, "crab", None));
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    locked.rollback().unwrap();
    drop(release);
    wait_until("the workers are done", || {
        let stats = store.stats();
        (stats.running, stats.waiting) == (0, 0)
    });
    assert_eq!(schema.count("session_data = 'lobster'"), 1);
}

#[test]
fn a_call_that_timed_out_never_has_an_effect() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let short = OffloadBuilder::default().timeout(Duration::from_millis(300));
    let own = schema
        .builder()
        .timeout(PATIENCE * 10)
        .connect_with(schema.config(), session_postgres::postgres::NoTls);
    let runtime = runtime();
    let mut holder = schema.client();
    for store in [patient_store(&schema), own.unwrap()] {
        let store = short.clone().build(store);
        for _ in 0..5 {
            let locked = lock(&mut holder, &key);
            let late = runtime.block_on(store.set(&key, "crab", None));
            locked.rollback().unwrap();
            assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
            wait_for_server(&schema);
            assert_eq!(schema.count("session_data = 'lobster'"), 1);
        }
    }
}

#[test]
fn each_call_of_a_batch_has_its_own_deadline() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let schema = Schema::new();
    let blocking = schema.store();
    let keys = keys(&blocking, 2);
    let store = OffloadBuilder::default()
        .max_concurrency(1)
        .timeout(TIMEOUT);
    let store = store.build(patient_store(&schema));
    hold_updates(&schema);
    let runtime = runtime();
    let release = occupy(&store, &runtime);
    let set = |key: &Key| {
        let (store, key) = (store.clone(), key.clone());
        runtime.spawn(async move { store.set(&key, "crab", None).await })
    };
    let earlier = set(&keys[0]);
    runtime.block_on(async { tokio::time::sleep(TIMEOUT / 2).await });
    let later = set(&keys[1]);
    wait_until("both wait", || store.stats().waiting == 2);
    drop(release);
    // `TimedOut` and not `StillRunning`: the server confirmed within a second that the statement is cancelled.
    let late = runtime.block_on(earlier).unwrap();
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    assert_eq!(store.stats().batches.largest, 2);
    release_updates(&schema);
    runtime.block_on(later).unwrap().unwrap();
    wait_for_server(&schema);
    assert_eq!(blocking.get(&keys[0]).unwrap().value, "lobster");
    assert_eq!(blocking.get(&keys[1]).unwrap().value, "crab");
}

const WORKERS: usize = 4;

/// Returns a facade with a short time limit, over a store whose own time limit is longer than a test takes.
fn hasty(schema: &Schema) -> Offload<PostgresStore> {
    let patient = schema.builder().timeout(PATIENCE * 10);
    let store = patient.from_pool(schema.pool(WORKERS as u32));
    store.create_table().unwrap();
    OffloadBuilder::default()
        .max_concurrency(WORKERS)
        .timeout(Duration::from_millis(300))
        .build(store)
}

/// Waits until no worker has work.
fn wait_for_workers(schema: &Schema, store: &Offload<PostgresStore>) {
    wait_until("the workers are free", || store.stats().running == 0);
    wait_for_server(schema);
}

#[test]
fn workers_are_free_after_calls_for_locked_sessions_have_timed_out() {
    let schema = Schema::new();
    let store = hasty(&schema);
    let blocking = schema.builder().from_client(schema.client());
    let keys: Vec<_> = (0..WORKERS * 5)
        .map(|_| blocking.generate(Some("lobster"), None).unwrap())
        .collect();
    let free = blocking.generate(Some("shrimp"), None).unwrap();
    // The runtime must be dropped after the locks, because it waits for workers that wait for the locks.
    let runtime = runtime();
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
    // The rows are still locked, but a call for another session succeeds.
    let found = patiently(|| runtime.block_on(store.get(&free)));
    assert_eq!(found.value, "shrimp");
    locked.rollback().unwrap();
    for key in &keys {
        assert_eq!(blocking.get(key).unwrap().value, "lobster");
    }
}

#[test]
fn the_statement_of_a_closure_is_cancelled_on_the_server() {
    let schema = Schema::new();
    let store = hasty(&schema);
    let sql = format!("SELECT pg_sleep(600) -- {}", schema.quoted());
    let runtime = runtime();
    wait_until("a worker runs the closure before its time is up", || {
        let sql = sql.clone();
        let sleep =
            move |store: &PostgresStore| store.with_client(|client| client.batch_execute(&sql));
        match runtime.block_on(store.run(sleep)) {
            // The result of the closure is returned, although the time is up.
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
