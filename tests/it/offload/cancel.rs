//! Callers that lose patience.

use std::time::Duration;

use session_postgres::{AsyncStore, Error, OffloadBuilder, Store};

use super::{Busy, spawn};

#[tokio::test]
async fn a_call_that_is_dropped_before_a_lane_took_it_never_runs() {
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
    assert!(busy.gate.trips().iter().all(|(verb, _)| *verb == "get"));
}

#[tokio::test]
async fn a_call_that_is_dropped_after_a_lane_took_it_runs_to_its_end() {
    let busy = Busy::new(OffloadBuilder::default());
    busy.taken().await;
    busy.first.abort();
    assert!(busy.first.await.unwrap_err().is_cancelled());
    assert!(busy.gate.trips().is_empty());
    busy.gate.open();
    // And the lane is free again.
    assert_eq!(busy.store.get(&busy.key).await.unwrap().value, "lobster");
    assert_eq!(busy.gate.trips(), [("get", 1), ("get", 1)]);
}

#[tokio::test]
async fn a_call_whose_time_is_up_is_told_so_and_one_that_waited_never_runs() {
    let busy = Busy::new(OffloadBuilder::default().timeout(Duration::from_millis(50)));
    busy.taken().await;
    let late = busy.store.set(&busy.key, "crab", None).await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    assert!(matches!(
        busy.first.await.unwrap(),
        Err(Error::TimedOut { .. })
    ));
    assert_eq!(busy.store.stats().timeouts, 2);

    busy.gate.open();
    while busy.store.stats().running > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(busy.gate.0.store.get(&busy.key).unwrap().value, "lobster");
    assert_eq!(busy.gate.trips(), [("get", 1)]);
}
