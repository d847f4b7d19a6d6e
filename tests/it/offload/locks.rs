//! Sessions that other transactions lock: calls for other sessions do not wait.

use std::pin::Pin;

use session_postgres::{AsyncStore, Error, Key, Offload, OffloadBuilder, PostgresStore, Store};
use tokio::{task::JoinSet, time::timeout};

use super::{
    occupy,
    on_postgres::{keys, patient, patient_store},
    runtime,
};
use crate::support::{
    PATIENCE,
    database::{Schema, lock},
    wait_until,
};

const CALLS: usize = 256;

type Call =
    fn(Offload<PostgresStore>, Key) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Makes a call for each key. The first `locked` sessions are locked until all other calls have returned.
fn call_while_locked(
    store: &Offload<PostgresStore>,
    call: Call,
    keys: &[Key],
    locked: usize,
    unlock: impl FnOnce(),
) {
    let runtime = runtime();
    let mut calls = JoinSet::new();
    for key in keys {
        calls.spawn_on(call(store.clone(), key.clone()), runtime.handle());
    }
    let mut answered = || {
        let answer = runtime.block_on(async { timeout(PATIENCE, calls.join_next()).await });
        let answer = answer.expect("a call for a session that is not locked");
        answer.unwrap().unwrap().unwrap();
    };
    for _ in locked..keys.len() {
        answered();
    }
    unlock();
    for _ in 0..locked {
        answered();
    }
}

#[test]
fn locked_sessions_do_not_delay_calls_for_other_sessions() {
    let verbs: [Call; 3] = [
        |store, key| Box::pin(async move { store.set(&key, "crab", None).await }),
        |store, key| Box::pin(async move { store.touch(&key, None).await }),
        |store, key| Box::pin(async move { store.clear(&key).await }),
    ];
    for locked in [1, 16, 64, 128] {
        for (number, verb) in verbs.into_iter().enumerate() {
            let schema = Schema::new();
            let builder = patient(&schema);
            let store = patient_store(&schema);
            let keys = keys(&store, CALLS);
            let mut holder = schema.client();
            let mut transaction = holder.transaction().unwrap();
            let names: Vec<_> = keys[..locked].iter().map(Key::as_str).collect();
            let sql = "SELECT FROM session WHERE session_key = ANY($1::text[]) FOR UPDATE";
            let count = transaction.execute(sql, &[&names]).unwrap();
            assert_eq!(count, locked as u64);
            // Two workers are the fewest of which one is free for other calls.
            let builder = match number {
                0 => builder,
                _ => builder.max_concurrency(2),
            };
            let store = builder.build(store);
            call_while_locked(&store, verb, &keys, locked, || {
                transaction.rollback().unwrap();
            });
        }
    }
}

#[test]
fn inserts_that_wait_for_other_transactions_do_not_delay_other_inserts() {
    for locked in [1, 16, 64, 128] {
        let schema = Schema::new();
        let builder = patient(&schema);
        let keys: Vec<_> = (0..CALLS).map(|_| Key::generate().unwrap()).collect();
        let mut holder = schema.client();
        let mut transaction = holder.transaction().unwrap();
        let names: Vec<_> = keys[..locked].iter().map(Key::as_str).collect();
        let sql = "INSERT INTO session (session_key, expire_date, session_data) \
                   SELECT key, now() + '1 day', 'crab' FROM unnest($1::text[]) key";
        transaction.execute(sql, &[&names]).unwrap();
        let store = builder.build(patient_store(&schema));
        let insert: Call =
            |store, key| Box::pin(async move { store.insert(&key, Some("lobster"), None).await });
        call_while_locked(&store, insert, &keys, locked, || {
            transaction.rollback().unwrap();
        });
        assert_eq!(schema.count("session_data = 'lobster'"), CALLS as i64);
    }
}

#[test]
fn calls_for_different_locked_sessions_do_not_wait_for_each_other() {
    let schema = Schema::new();
    let builder = patient(&schema);
    let store = patient_store(&schema);
    let keys = keys(&store, 2);
    let store = builder.build(store);
    let mut holders = [schema.client(), schema.client()];
    let runtime = runtime();
    for unlocked_first in [0, 1] {
        let [a, b] = &mut holders;
        let mut locks = vec![lock(a, &keys[0]), lock(b, &keys[1])];
        let mut calls: Vec<_> = keys
            .iter()
            .map(|key| {
                let (store, key) = (store.clone(), key.clone());
                runtime.spawn(async move { store.set(&key, "crab", None).await })
            })
            .collect();
        wait_until("both wait", || schema.active() == 2);
        locks.remove(unlocked_first).rollback().unwrap();
        let first =
            runtime.block_on(async { timeout(PATIENCE, calls.remove(unlocked_first)).await });
        first
            .expect("the session is no longer locked")
            .unwrap()
            .unwrap();
        assert!(!calls[0].is_finished());
        locks.remove(0).rollback().unwrap();
        runtime.block_on(calls.remove(0)).unwrap().unwrap();
    }
}

#[test]
fn a_locked_session_does_not_delay_the_other_calls_of_its_batch() {
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
        let runtime = runtime();
        let mut holder = schema.client();
        let locked = lock(&mut holder, &keys[20]);
        // All calls wait while the worker is busy, so they are one batch.
        let release = occupy(&store, &runtime);
        let mut calls = JoinSet::new();
        for key in keys {
            calls.spawn_on(verb(store.clone(), key), runtime.handle());
        }
        wait_until("all wait", || store.stats().waiting == 40);
        drop(release);
        runtime.block_on(async {
            for _ in 0..39 {
                let answer = timeout(PATIENCE, calls.join_next()).await;
                let answer = answer.expect("a call for a session that is not locked");
                answer.unwrap().unwrap().unwrap();
            }
        });
        assert_eq!(store.stats().batches.largest, 40);
        locked.rollback().unwrap();
        let last = runtime.block_on(calls.join_next());
        last.unwrap().unwrap().unwrap();
    }
}
