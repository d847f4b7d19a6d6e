//! `update` with an edit that takes long.

use std::sync::mpsc;

use session_postgres::{AsyncStore, Store};
use tokio::{task::JoinSet, time::timeout};

use super::{
    gate::Gate,
    on_postgres::{keys, patient, patient_store},
    runtime,
};
use crate::support::{PATIENCE, database::Schema, wait_until};

#[test]
fn edits_that_take_long_do_not_delay_other_calls() {
    let schema = Schema::new();
    let builder = patient(&schema);
    let store = patient_store(&schema);
    let edited = store.generate(Some("0"), None).unwrap();
    let others = keys(&store, 100);
    let store = builder.build(store);
    let runtime = runtime();
    let gate = Gate::default();
    let opener = gate.opener();
    let (begun, has_begun) = mpsc::channel();
    let edits: Vec<_> = (0..40)
        .map(|_| {
            let (store, key) = (store.clone(), edited.clone());
            let (gate, begun) = (gate.clone(), begun.clone());
            let edit = move |old: Option<&str>| {
                let _ = begun.send(());
                gate.pass();
                Some((old.unwrap().parse::<u32>().unwrap() + 1).to_string())
            };
            runtime.spawn(async move { store.update(&key, None, edit).await })
        })
        .collect();
    has_begun.recv().unwrap();
    wait_until("a second update waits for the first", || {
        schema.active() >= 2
    });
    let mut calls = JoinSet::new();
    for key in &others {
        let (store, key) = (store.clone(), key.clone());
        calls.spawn_on(async move { store.get(&key).await }, runtime.handle());
    }
    runtime.block_on(async {
        for _ in &others {
            let answer = timeout(PATIENCE, calls.join_next()).await;
            let answer = answer.expect("a call that does not take long");
            assert_eq!(answer.unwrap().unwrap().unwrap().value, "lobster");
        }
    });
    assert!(edits.iter().all(|edit| !edit.is_finished()));
    drop(opener);
    for edit in edits {
        runtime.block_on(edit).unwrap().unwrap();
    }
    let session = runtime.block_on(store.get(&edited)).unwrap();
    assert_eq!(session.value, "40");
}
