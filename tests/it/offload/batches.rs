//! Calls that wait share the trip.

use std::sync::mpsc;

use session_postgres::{AsyncStore, Error, Key, Offload, OffloadBuilder, PostgresStore, Store};
use tokio::runtime::Builder;

use super::{Busy, Gated, spawn};
use crate::support::database::Schema;

async fn gets_that_wait(busy: &Busy, count: usize) {
    busy.taken().await;
    let calls: Vec<_> = (0..count)
        .map(|_| {
            spawn(&busy.store, &busy.key, |store, key| async move {
                store.get(&key).await
            })
        })
        .collect();
    busy.waiting(count).await;
    busy.gate.open();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().value, "lobster");
    }
}

#[tokio::test]
async fn calls_that_wait_together_make_one_trip() {
    let busy = Busy::new(OffloadBuilder::default());
    gets_that_wait(&busy, 50).await;
    assert_eq!(busy.gate.trips(), [("get", 1), ("get", 50)]);
    let stats = busy.store.stats();
    assert_eq!(
        (stats.calls, stats.batches, stats.largest_batch),
        (51, 2, 50)
    );
}

#[tokio::test]
async fn no_trip_is_larger_than_the_largest_allowed() {
    let busy = Busy::new(OffloadBuilder::default().max_batch(20));
    gets_that_wait(&busy, 50).await;
    assert_eq!(
        busy.gate.trips(),
        [("get", 1), ("get", 20), ("get", 20), ("get", 10)]
    );
}

#[tokio::test]
async fn with_batches_of_one_each_call_goes_alone() {
    let busy = Busy::new(OffloadBuilder::default().max_batch(1));
    gets_that_wait(&busy, 10).await;
    assert_eq!(busy.gate.trips(), vec![("get", 1); 11]);
}

#[tokio::test]
async fn a_lone_call_does_not_wait_for_others() {
    let gate = Gated::default();
    gate.open();
    let store = Offload::new(gate.clone());
    let key = store.generate(Some("lobster"), None).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().value, "lobster");
    assert_eq!(gate.trips(), [("generate", 1), ("get", 1)]);
}

#[tokio::test]
async fn a_flood_of_one_verb_starves_no_other() {
    let busy = Busy::new(OffloadBuilder::default().max_batch(10));
    busy.taken().await;
    let flood: Vec<_> = (0..500)
        .map(|_| {
            spawn(&busy.store, &busy.key, |store, key| async move {
                store.set(&key, "crab", None).await
            })
        })
        .collect();
    busy.waiting(500).await;
    let touch = spawn(&busy.store, &busy.key, |store, key| async move {
        store.touch(&key, None).await
    });
    let run = spawn(&busy.store, &busy.key, |store, _| async move {
        store.run(Store::default_period).await
    });
    busy.waiting(502).await;
    busy.gate.open();
    touch.await.unwrap().unwrap();
    run.await.unwrap().unwrap();
    for call in flood {
        call.await.unwrap().unwrap();
    }
    let place = busy
        .gate
        .trips()
        .iter()
        .position(|(verb, _)| *verb == "touch")
        .unwrap();
    assert!(place <= 3, "the touch came after {place} trips");
}

#[test]
fn a_call_that_the_server_refuses_spoils_no_other_of_its_trip() {
    let schema = Schema::new();
    let blocking = schema.store();
    schema.run("ALTER TABLE session ADD CHECK (session_data <> 'bad')");
    let refused = [0, 17, 49];
    let keys: Vec<_> = (0..50)
        .map(|_| blocking.generate(Some("lobster"), None).unwrap())
        .collect();
    let store = Offload::builder().lanes(1).build(blocking);
    let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
    let results = runtime.block_on(set_together(&store, &keys, |place| match place {
        place if refused.contains(&place) => "bad",
        23 => "N\0L",
        _ => "crab",
    }));
    assert_eq!(store.stats().largest_batch, keys.len());
    for (place, result) in results.into_iter().enumerate() {
        let value = runtime.block_on(store.get(&keys[place])).unwrap().value;
        match result {
            Err(Error::Database(e)) => {
                assert!(refused.contains(&place), "{place}: {e}");
                assert_eq!((e.code().unwrap().code(), &*value), ("23514", "lobster"));
            }
            Err(e) => assert!(place == 23 && matches!(e, Error::InvalidValue(_)), "{e}"),
            Ok(()) => assert_eq!(value, "crab", "{place}"),
        }
    }
}

/// Sets each key from a task of its own, all in one trip.
async fn set_together(
    store: &Offload<PostgresStore>,
    keys: &[Key],
    value: impl Fn(usize) -> &'static str,
) -> Vec<Result<(), Error>> {
    // The one lane is busy until all wait.
    let (release, released) = mpsc::channel::<()>();
    let busy = store.clone();
    let busy = tokio::spawn(async move { busy.run(move |_| released.recv()).await });
    while store.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    let calls: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(place, key)| {
            let (store, key, value) = (store.clone(), key.clone(), value(place));
            tokio::spawn(async move { store.set(&key, value, None).await })
        })
        .collect();
    while store.stats().waiting < keys.len() {
        tokio::task::yield_now().await;
    }
    drop(release);
    assert!(busy.await.unwrap().unwrap().is_err());
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    results
}
