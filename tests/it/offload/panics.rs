//! Panics in stores and closures.

use session_postgres::{AsyncStore, Key, OffloadBuilder, Store};
use tokio::{task::yield_now, time::timeout};

use super::{
    gated_store::{Busy, GatedStore, PANICKING_KEY, SLOW_KEY},
    spawn,
};
use crate::support::{PATIENCE, key};

#[tokio::test]
async fn a_panic_reaches_only_the_caller_whose_call_panicked() {
    let busy = Busy::new(OffloadBuilder::default());
    busy.worker_is_busy().await;
    let good: Vec<_> = (0..3)
        .map(|_| {
            spawn(&busy.store, &busy.key, |store, key| async move {
                store.get(&key).await
            })
        })
        .collect();
    let bad = spawn(&busy.store, &key(PANICKING_KEY), |store, key| async move {
        store.get(&key).await
    });
    busy.waiting(4).await;
    busy.gate.open();
    assert!(bad.await.unwrap_err().is_panic());
    for call in good {
        assert_eq!(call.await.unwrap().unwrap().value, "lobster");
    }
    // All four were one batch. After the panic, each was executed alone.
    assert_eq!(busy.gate.batches()[1], ("get", 4));
    assert_eq!(busy.store.get(&busy.key).await.unwrap().value, "lobster");
}

#[tokio::test]
async fn a_panic_of_a_closure_reaches_its_caller() {
    let busy = Busy::new(OffloadBuilder::default());
    busy.gate.open();
    let run = spawn(&busy.store, &busy.key, |store, _| async move {
        store.run(|_| panic!("in the middle")).await
    });
    let panic = run.await.unwrap_err().into_panic();
    assert_eq!(*panic.downcast::<&str>().unwrap(), "in the middle");
    assert_eq!(busy.store.get(&busy.key).await.unwrap().value, "lobster");
}

/// While a worker executes them alone, it is not about to take other calls.
#[tokio::test]
async fn the_calls_of_a_batch_that_panicked_delay_no_others() {
    let gate = GatedStore::default();
    let (key, bad, slow) = (key("good"), key(PANICKING_KEY), key(SLOW_KEY));
    for key in [&key, &slow] {
        gate.inner().insert(key, Some("lobster"), None).unwrap();
    }
    let store = OffloadBuilder::default()
        .max_concurrency(2)
        .build(gate.clone());
    let get = |key: &Key| {
        spawn(
            &store,
            key,
            |store, key| async move { store.get(&key).await },
        )
    };
    let _opener = gate.opener();
    let slow_opener = gate.slow_opener();

    // Both workers are at the gate while three calls wait.
    let busy = [get(&key), get(&key)];
    while gate.arrived() < 2 {
        yield_now().await;
    }
    let batch = [get(&bad), get(&key), get(&slow)];
    while store.stats().waiting < 3 {
        yield_now().await;
    }
    gate.open();
    for call in busy {
        call.await.unwrap().unwrap();
    }
    let [bad, good, slow] = batch;
    assert!(bad.await.unwrap_err().is_panic());
    good.await.unwrap().unwrap();

    // One worker is at the gate of the slow key. The other one takes new calls.
    timeout(PATIENCE, get(&key))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    drop(slow_opener);
    slow.await.unwrap().unwrap();
}
