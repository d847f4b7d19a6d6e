//! Callers that lose patience.

use std::{future::Future, pin::Pin, time::Duration};

use session_postgres::{AsyncStore, Error, Key, Offload, OffloadBuilder, Store};

use super::{Busy, Gated, Opener, spawn};

const SHORT: Duration = Duration::from_millis(50);

type Call = fn(Offload<Gated>, Key) -> Pin<Box<dyn Future<Output = Result<(), Error>>>>;

#[tokio::test]
async fn a_call_that_is_dropped_before_a_worker_took_it_never_runs() {
    let busy = Busy::new(OffloadBuilder::default());
    busy.taken().await;
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
    // What comes later runs, and finds the session as it was.
    assert_eq!(busy.store.get(&busy.key).await.unwrap().value, "lobster");
    assert!(busy.gate.batches().iter().all(|(verb, _)| *verb == "get"));
}

#[tokio::test]
async fn a_call_that_is_dropped_after_a_worker_took_it_runs_to_its_end() {
    let busy = Busy::new(OffloadBuilder::default());
    busy.taken().await;
    busy.first.abort();
    assert!(busy.first.await.unwrap_err().is_cancelled());
    assert!(busy.gate.batches().is_empty());
    busy.gate.open();
    // And the worker is free again.
    assert_eq!(busy.store.get(&busy.key).await.unwrap().value, "lobster");
    assert_eq!(busy.gate.batches(), [("get", 1), ("get", 1)]);
}

#[tokio::test]
async fn a_call_whose_time_is_up_is_told_so_and_one_that_waited_never_runs() {
    let busy = Busy::new(OffloadBuilder::default().timeout(SHORT));
    busy.taken().await;
    let late = busy.store.set(&busy.key, "crab", None).await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    // This store does not stop what it does.
    match busy.first.await.unwrap() {
        Err(Error::StillRunning { waited }) => assert!(waited >= SHORT, "{waited:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(busy.store.stats().timeouts, 2);
    assert_eq!(busy.store.stats().running, 1);

    busy.gate.open();
    while busy.store.stats().running > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(busy.gate.0.store.get(&busy.key).unwrap().value, "lobster");
    assert_eq!(busy.gate.batches(), [("get", 1)]);
}

#[tokio::test]
async fn a_call_that_a_store_does_not_stop_is_never_timed_out() {
    let calls: [Call; 3] = [
        |store, key| Box::pin(async move { store.set(&key, "crab", None).await }),
        |store, key| {
            let edit = |_: Option<&str>| Some("crab".to_owned());
            Box::pin(async move { store.update(&key, None, edit).await.map(drop) })
        },
        |store, key| {
            let set = move |store: &Gated| store.set(&key, "crab", None);
            Box::pin(async move { store.run(set).await? })
        },
    ];
    for call in calls {
        let gate = Gated::default();
        let _opener = Opener(gate.clone());
        let key = gate.0.store.generate(Some("lobster"), None).unwrap();
        let builder = OffloadBuilder::default().timeout(SHORT);
        let store = builder.build(gate.clone());
        let late = call(store.clone(), key.clone()).await;
        assert!(matches!(late, Err(Error::StillRunning { .. })), "{late:?}");
        assert_eq!(gate.0.store.get(&key).unwrap().value, "lobster");

        // It may have its effect later, and does.
        gate.open();
        while store.stats().running > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.0.store.get(&key).unwrap().value, "crab");
    }
}
