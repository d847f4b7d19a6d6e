//! Panics in stores and closures.

use session_postgres::{AsyncStore, OffloadBuilder};

use super::{
    gated_store::{Busy, PANICKING_KEY},
    spawn,
};
use crate::support::key;

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
