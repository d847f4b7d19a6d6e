//! Stores, and closures, that panic.

use session_postgres::{AsyncStore, OffloadBuilder};

use super::{BAD, Busy, spawn};
use crate::support::key;

#[tokio::test]
async fn a_panic_reaches_the_caller_whose_call_it_was_and_no_other() {
    let busy = Busy::new(OffloadBuilder::default());
    busy.taken().await;
    let good: Vec<_> = (0..3)
        .map(|_| {
            spawn(&busy.store, &busy.key, |store, key| async move {
                store.get(&key).await
            })
        })
        .collect();
    let bad = spawn(&busy.store, &key(BAD), |store, key| async move {
        store.get(&key).await
    });
    busy.waiting(4).await;
    busy.gate.open();
    assert!(bad.await.unwrap_err().is_panic());
    for call in good {
        assert_eq!(call.await.unwrap().unwrap().value, "lobster");
    }
    // They had gone together, and then each alone.
    assert_eq!(busy.gate.batches()[1], ("get", 4));
    assert_eq!(busy.store.get(&busy.key).await.unwrap().value, "lobster");
}

#[tokio::test]
async fn a_panic_of_the_users_own_closure_is_the_users() {
    let busy = Busy::new(OffloadBuilder::default());
    busy.gate.open();
    let run = spawn(&busy.store, &busy.key, |store, _| async move {
        store.run(|_| panic!("in the middle")).await
    });
    let panic = run.await.unwrap_err().into_panic();
    assert_eq!(*panic.downcast::<&str>().unwrap(), "in the middle");
    assert_eq!(busy.store.get(&busy.key).await.unwrap().value, "lobster");
}
