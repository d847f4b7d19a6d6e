//! Calls whose caller drops them.

use session_postgres::{AsyncStore, Key, OffloadBuilder, PostgresStore, Store, postgres::Client};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    gated_store::Busy,
    occupy,
    on_postgres::{hold_updates, keys, patient, patient_store, release_updates, wait_for_server},
    runtime, spawn,
};
use crate::support::{
    PATIENCE,
    database::{Schema, lock},
    wait_until,
};

#[test]
fn a_statement_is_cancelled_when_all_of_its_callers_have_dropped_their_calls() {
    let schema = Schema::new();
    let builder = patient(&schema).max_concurrency(1);
    let store = patient_store(&schema);
    let keys = keys(&store, 3);
    let store = builder.build(store);
    let runtime = runtime();
    let mut holder: Client = schema.client();
    let locked = lock(&mut holder, &keys[0]);
    let drop_calls = |what: &str, calls: Vec<JoinHandle<()>>| {
        wait_until(what, || schema.active() == 1);
        for call in calls {
            call.abort();
        }
        // The statement is still blocked, so only a cancel request can have ended it.
        wait_for_server(&schema);
        let found = runtime.block_on(async { timeout(PATIENCE, store.get(&keys[2])).await });
        assert_eq!(found.expect("a worker is free").unwrap().value, "lobster");
    };
    let set = |key: &Key| {
        let (store, key) = (store.clone(), key.clone());
        runtime.spawn(async move { drop(store.set(&key, "crab", None).await) })
    };

    drop_calls("the set waits", vec![set(&keys[0])]);
    let (busy, sql) = (
        store.clone(),
        format!("SELECT pg_sleep(600) -- {}", schema.quoted()),
    );
    let run = runtime.spawn(async move {
        let sleep =
            move |store: &PostgresStore| store.with_client(|client| client.batch_execute(&sql));
        drop(busy.run(sleep).await);
    });
    drop_calls("the closure sleeps", vec![run]);
    locked.rollback().unwrap();

    hold_updates(&schema);
    let release = occupy(&store, &runtime);
    let both = vec![set(&keys[0]), set(&keys[1])];
    wait_until("both wait", || store.stats().waiting == 2);
    drop(release);
    drop_calls("the batch runs", both);
    assert_eq!(store.stats().batches.largest, 2);

    // If one caller of a batch remains, its call is executed.
    let release = occupy(&store, &runtime);
    let (gone, stays) = (set(&keys[0]), store.clone());
    let key = keys[1].clone();
    let stays = runtime.spawn(async move { stays.set(&key, "crab", None).await });
    wait_until("both wait", || store.stats().waiting == 2);
    drop(release);
    wait_until("the batch runs", || schema.active() == 1);
    gone.abort();
    assert!(runtime.block_on(gone).unwrap_err().is_cancelled());
    release_updates(&schema);
    runtime.block_on(stays).unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_never_runs() {
    let busy = Busy::new(OffloadBuilder::default());
    busy.worker_is_busy().await;
    let set = spawn(&busy.store, &busy.key, |store, key| async move {
        store.set(&key, "crab", None).await
    });
    let run = spawn(&busy.store, &busy.key, |store, key| async move {
        store
            .run(move |store| store.set(&key, "shrimp", None))
            .await
    });
    busy.waiting(2).await;
    set.abort();
    run.abort();
    assert!(set.await.unwrap_err().is_cancelled() && run.await.unwrap_err().is_cancelled());

    busy.gate.open();
    busy.first.await.unwrap().unwrap();
    // A later call runs and finds the session unchanged.
    assert_eq!(busy.store.get(&busy.key).await.unwrap().value, "lobster");
    assert!(busy.gate.batches().iter().all(|(verb, _)| *verb == "get"));
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_runs_is_completed_if_the_store_cannot_cancel() {
    let busy = Busy::new(OffloadBuilder::default());
    busy.worker_is_busy().await;
    busy.first.abort();
    assert!(busy.first.await.unwrap_err().is_cancelled());
    assert!(busy.gate.batches().is_empty());
    busy.gate.open();
    // The worker is free again.
    assert_eq!(busy.store.get(&busy.key).await.unwrap().value, "lobster");
    assert_eq!(busy.gate.batches(), [("get", 1), ("get", 1)]);
}
