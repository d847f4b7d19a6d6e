//! Calls that wait together are executed in one batch.

use session_postgres::{
    AsyncStore, Error, Key, Offload, OffloadBuilder, PostgresStore, SessionFields, Store,
};
use tokio::{runtime::Runtime, task::JoinSet, time::timeout};

use super::{
    gated_store::{Busy, GatedStore},
    occupy, runtime, spawn,
};
use crate::support::{PATIENCE, database::Schema, proxy::Proxy, wait_until};

#[tokio::test]
async fn calls_that_wait_together_are_batched_up_to_max_batch() {
    let builder = OffloadBuilder::default;
    let cases: [(OffloadBuilder, &[usize]); 3] = [
        (builder(), &[50]),
        (builder().max_batch(20), &[20, 20, 10]),
        (builder().max_batch(1), &[1; 10]),
    ];
    for (builder, expected) in cases {
        let busy = Busy::new(builder);
        busy.worker_is_busy().await;
        let count: usize = expected.iter().sum();
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
        // The first batch is the call that kept the worker busy.
        let batches: Vec<_> = [&[1], expected].concat();
        let stats = busy.store.stats();
        assert_eq!(stats.batches.calls, count as u64 + 1);
        assert_eq!(stats.batches.batches, batches.len() as u64);
        assert_eq!(Some(stats.batches.largest), batches.iter().copied().max());
        let gets: Vec<_> = batches.into_iter().map(|calls| ("get", calls)).collect();
        assert_eq!(busy.gate.batches(), gets);
    }
}

#[tokio::test]
async fn a_single_call_does_not_wait_for_others() {
    let gate = GatedStore::default();
    gate.open();
    let store = Offload::new(gate.clone());
    let key = store.generate(Some("lobster"), None).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().value, "lobster");
    assert_eq!(gate.batches(), [("generate", 1), ("get", 1)]);
}

#[tokio::test]
async fn many_calls_of_one_verb_do_not_delay_other_verbs() {
    let busy = Busy::new(OffloadBuilder::default().max_batch(10));
    busy.worker_is_busy().await;
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
    assert!(place <= 3, "there were {place} batches before the touch");
}

#[test]
fn a_call_that_the_server_rejects_does_not_fail_the_others_of_its_batch() {
    let schema = Schema::new();
    let blocking = schema.store();
    schema.run("ALTER TABLE session ADD CHECK (session_data <> 'bad')");
    let rejected = [0, 17, 49];
    let keys: Vec<_> = (0..50)
        .map(|_| blocking.generate(Some("lobster"), None).unwrap())
        .collect();
    let store = Offload::builder().max_concurrency(1).build(blocking);
    let runtime = runtime();
    let results = set_together(&store, &runtime, &keys, |place| match place {
        place if rejected.contains(&place) => "bad",
        23 => "N\0L",
        _ => "crab",
    });
    assert_eq!(store.stats().batches.largest, keys.len());
    for (place, result) in results.into_iter().enumerate() {
        let value = runtime.block_on(store.get(&keys[place])).unwrap().value;
        match result {
            Err(Error::Database(e)) => {
                assert!(rejected.contains(&place), "{place}: {e}");
                assert_eq!((e.code().unwrap().code(), &*value), ("23514", "lobster"));
            }
            Err(e) => assert!(place == 23 && matches!(e, Error::InvalidValue(_)), "{e}"),
            Ok(()) => assert_eq!(value, "crab", "{place}"),
        }
    }
}

/// Sets every key in its own task. All calls are in one batch.
fn set_together(
    store: &Offload<PostgresStore>,
    runtime: &Runtime,
    keys: &[Key],
    value: impl Fn(usize) -> &'static str,
) -> Vec<Result<(), Error>> {
    let release = occupy(store, runtime);
    let calls: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(place, key)| {
            let (store, key, value) = (store.clone(), key.clone(), value(place));
            runtime.spawn(async move { store.set(&key, value, None).await })
        })
        .collect();
    wait_until("all wait", || store.stats().waiting == keys.len());
    drop(release);
    let results = calls.into_iter().map(|call| runtime.block_on(call));
    results.map(Result::unwrap).collect()
}

#[test]
fn many_writes_of_one_session_do_not_delay_others() {
    let schema = Schema::new();
    let proxy = Proxy::to(&schema.config());
    let pool = schema.pool_to(proxy.config(&schema.config()), 1);
    let inner = schema.builder().from_pool(pool);
    inner.create_table().unwrap();
    let key = inner.generate(Some("lobster"), None).unwrap();
    let other = inner.generate(Some("lobster"), None).unwrap();
    // This prepares the statements.
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
    assert_eq!(store.stats().batches.largest, 251);
    let value = runtime.block_on(store.get(&key)).unwrap().value;
    assert!((0..250).contains(&value.parse().unwrap()), "{value}");
    assert_eq!(runtime.block_on(store.get(&other)).unwrap().value, "shrimp");
}

#[test]
fn a_batch_reads_at_most_16_mib() {
    const SIZE: usize = 1 << 20;
    const CALLS: usize = 64;
    let schema = Schema::new();
    let inner = schema.store();
    let value = "x".repeat(SIZE);
    let keys = inner.generate_many(&[SessionFields::new(Some(&*value), None); CALLS]);
    let keys: Vec<_> = keys.into_iter().map(Result::unwrap).collect();
    let store = Offload::builder().max_concurrency(1).build(inner);
    let runtime = runtime();
    // The store expects values as large as those that it has read.
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
    let largest = store.stats().batches.largest;
    assert!((2..=16).contains(&largest), "{largest} MiB in a batch");
}

#[tokio::test]
async fn calls_are_not_batched_while_workers_are_free() {
    for workers in [2, 4, 8] {
        let gate = GatedStore::default();
        let opener = gate.opener();
        let key = gate.inner().generate(Some("lobster"), None).unwrap();
        let store = Offload::builder()
            .max_concurrency(workers)
            .build(gate.clone());
        // All calls wait before the first worker begins. Each worker starts the next one.
        let calls: Vec<_> = (0..workers)
            .map(|_| {
                spawn(
                    &store,
                    &key,
                    |store, key| async move { store.get(&key).await },
                )
            })
            .collect();
        let all_arrived = async {
            while gate.arrived() < workers {
                tokio::task::yield_now().await;
            }
        };
        let all_arrived = timeout(PATIENCE, all_arrived).await;
        assert!(all_arrived.is_ok(), "{} of {workers}", gate.arrived());
        drop(opener);
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(gate.batches(), vec![("get", 1); workers]);
    }
}
