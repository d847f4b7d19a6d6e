//! Calls that wait share a batch.

use std::sync::mpsc;

use session_postgres::{AsyncStore, Error, Key, Offload, OffloadBuilder, PostgresStore, Store};
use tokio::{runtime::Builder, task::JoinSet, time::timeout};

use super::{Busy, Gated, Opener, occupy, runtime, spawn};
use crate::support::{PATIENCE, database::Schema, proxy::Proxy, wait_until};

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
async fn calls_that_wait_together_make_one_batch() {
    let busy = Busy::new(OffloadBuilder::default());
    gets_that_wait(&busy, 50).await;
    assert_eq!(busy.gate.batches(), [("get", 1), ("get", 50)]);
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
        busy.gate.batches(),
        [("get", 1), ("get", 20), ("get", 20), ("get", 10)]
    );
}

#[tokio::test]
async fn with_batches_of_one_each_call_goes_alone() {
    let busy = Busy::new(OffloadBuilder::default().max_batch(1));
    gets_that_wait(&busy, 10).await;
    assert_eq!(busy.gate.batches(), vec![("get", 1); 11]);
}

#[tokio::test]
async fn a_lone_call_does_not_wait_for_others() {
    let gate = Gated::default();
    gate.open();
    let store = Offload::new(gate.clone());
    let key = store.generate(Some("lobster"), None).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().value, "lobster");
    assert_eq!(gate.batches(), [("generate", 1), ("get", 1)]);
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
        .batches()
        .iter()
        .position(|(verb, _)| *verb == "touch")
        .unwrap();
    assert!(place <= 3, "the touch came after {place} batches");
}

#[test]
fn a_call_that_the_server_refuses_spoils_no_other_of_its_batch() {
    let schema = Schema::new();
    let blocking = schema.store();
    schema.run("ALTER TABLE session ADD CHECK (session_data <> 'bad')");
    let refused = [0, 17, 49];
    let keys: Vec<_> = (0..50)
        .map(|_| blocking.generate(Some("lobster"), None).unwrap())
        .collect();
    let store = Offload::builder().max_concurrency(1).build(blocking);
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

/// Sets each key from a task of its own, all in one batch.
async fn set_together(
    store: &Offload<PostgresStore>,
    keys: &[Key],
    value: impl Fn(usize) -> &'static str,
) -> Vec<Result<(), Error>> {
    // The one worker is busy until all wait.
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

#[test]
fn many_writes_of_one_session_delay_no_other() {
    let schema = Schema::new();
    let proxy = Proxy::to(&schema.config());
    let pool = schema.pool_to(proxy.config(&schema.config()), 1);
    let inner = schema.builder().from_pool(pool);
    inner.create_table().unwrap();
    let key = inner.generate(Some("lobster"), None).unwrap();
    let other = inner.generate(Some("lobster"), None).unwrap();
    // Statements get prepared.
    for result in inner.try_set_many(&[(&key, "crab", None), (&other, "crab", None)]) {
        result.unwrap();
    }
    let store = Offload::builder().max_concurrency(1).build(inner);
    let runtime = runtime();
    let release = occupy(&store, &runtime);
    let mut calls = JoinSet::new();
    for number in 0..250 {
        let (store, key) = (store.clone(), key.clone());
        let set = async move { store.set(&key, &number.to_string(), None).await };
        calls.spawn_on(set, runtime.handle());
    }
    let last = (store.clone(), other.clone());
    calls.spawn_on(
        async move { last.0.set(&last.1, "shrimp", None).await },
        runtime.handle(),
    );
    wait_until("all wait", || store.stats().waiting == 251);
    proxy.counts();
    drop(release);
    for set in runtime.block_on(calls.join_all()) {
        set.unwrap();
    }
    let (_, statements) = proxy.counts();
    assert!(statements <= 3, "{statements} statements");
    assert_eq!(store.stats().largest_batch, 251);
    let value = runtime.block_on(store.get(&key)).unwrap().value;
    assert!((0..250).contains(&value.parse().unwrap()), "{value}");
    assert_eq!(runtime.block_on(store.get(&other)).unwrap().value, "shrimp");
}

#[test]
fn a_batch_reads_no_more_than_some_megabytes() {
    const SIZE: usize = 1 << 20;
    const CALLS: usize = 64;
    let schema = Schema::new();
    let inner = schema.store();
    let value = "x".repeat(SIZE);
    let keys = inner.generate_many(&[(Some(&*value), None); CALLS]);
    let keys: Vec<_> = keys.into_iter().map(Result::unwrap).collect();
    let store = Offload::builder().max_concurrency(1).build(inner);
    let runtime = runtime();
    // The sizes to expect are those that were seen.
    runtime.block_on(store.get(&keys[0])).unwrap();
    let release = occupy(&store, &runtime);
    let mut calls = JoinSet::new();
    for key in keys {
        let store = store.clone();
        let size = async move { store.get(&key).await.map(|session| session.value.len()) };
        calls.spawn_on(size, runtime.handle());
    }
    wait_until("all wait", || store.stats().waiting == CALLS);
    drop(release);
    for size in runtime.block_on(calls.join_all()) {
        assert_eq!(size.unwrap(), SIZE);
    }
    let largest = store.stats().largest_batch;
    assert!((2..=16).contains(&largest), "{largest} MiB in a batch");
}

#[tokio::test]
async fn few_calls_are_each_executed_alone_and_at_once() {
    for workers in [2, 4, 8] {
        let gate = Gated::default();
        let opener = Opener(gate.clone());
        let key = gate.0.store.generate(Some("lobster"), None).unwrap();
        let store = Offload::builder()
            .max_concurrency(workers)
            .build(gate.clone());
        // All are there before the first worker begins. Each worker has the next one started.
        let calls: Vec<_> = (0..workers)
            .map(|_| {
                spawn(
                    &store,
                    &key,
                    |store, key| async move { store.get(&key).await },
                )
            })
            .collect();
        let all_came = async {
            while gate.came() < workers {
                tokio::task::yield_now().await;
            }
        };
        let all_came = timeout(PATIENCE, all_came).await;
        assert!(all_came.is_ok(), "{} of {workers}", gate.came());
        drop(opener);
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(gate.batches(), vec![("get", 1); workers]);
    }
}
