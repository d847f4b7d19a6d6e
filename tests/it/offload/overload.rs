//! More calls than may wait.

use std::time::{Duration, Instant};

use session_postgres::{AsyncStore, Error, ErrorKind, Key, Offload, OffloadBuilder, Store};
use tokio::task::JoinSet;

use super::{
    gated_store::Busy,
    on_postgres::{keys, patient, patient_store},
    runtime, spawn, wait_until_idle,
};
use crate::{
    connect::through,
    support::{
        database::{Schema, lock},
        tcp_proxy::TcpProxy,
        wait_until,
    },
};

#[tokio::test]
async fn a_call_beyond_max_waiting_is_rejected_and_the_others_are_executed() {
    let busy = Busy::new(OffloadBuilder::default().max_waiting(2));
    busy.worker_is_busy().await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            spawn(&busy.store, &busy.key, |store, key| async move {
                store.get(&key).await
            })
        })
        .collect();
    busy.waiting(2).await;
    let rejected = busy.store.set(&busy.key, "crab", None).await;
    assert!(
        matches!(rejected, Err(Error::Overloaded { waiting: 2 })),
        "{rejected:?}"
    );
    let many = busy.store.get_many(&[&busy.key, &busy.key]).await;
    assert!(
        many.iter()
            .all(|result| matches!(result, Err(Error::Overloaded { .. })))
    );
    assert!(matches!(
        busy.store.run(|_| ()).await,
        Err(Error::Overloaded { .. })
    ));
    let calls = busy.store.stats().calls;
    assert_eq!(calls.errors_of(ErrorKind::Overloaded), 4);

    busy.gate.open();
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().value, "lobster");
    }
    busy.store.set(&busy.key, "crab", None).await.unwrap();
}

#[tokio::test]
async fn values_beyond_max_waiting_bytes_are_rejected() {
    let busy = Busy::new(OffloadBuilder::default().max_waiting_bytes(100));
    busy.worker_is_busy().await;
    let set = |bytes: usize| {
        spawn(&busy.store, &busy.key, move |store, key| async move {
            store.set(&key, &"x".repeat(bytes), None).await
        })
    };
    // A single call may wait with a value of any size.
    let large = set(1000);
    busy.waiting(1).await;
    for bytes in [1, 1000] {
        let rejected = set(bytes).await.unwrap();
        assert!(
            matches!(rejected, Err(Error::Overloaded { waiting: 1 })),
            "{rejected:?}"
        );
    }
    let get = spawn(&busy.store, &busy.key, |store, key| async move {
        store.get(&key).await
    });
    busy.waiting_or_done(2, std::slice::from_ref(&get)).await;
    busy.gate.open();
    large.await.unwrap().unwrap();
    get.await.unwrap().unwrap();
}

#[tokio::test]
async fn values_up_to_max_waiting_bytes_may_wait() {
    let busy = Busy::new(OffloadBuilder::default().max_waiting_bytes(100));
    let set = |bytes: usize| {
        spawn(&busy.store, &busy.key, move |store, key| async move {
            store.set(&key, &"x".repeat(bytes), None).await
        })
    };
    busy.worker_is_busy().await;
    // In the second round, the values of the first round no longer count.
    for _ in 0..2 {
        let fit = [set(40), set(60)];
        busy.waiting_or_done(2, &fit).await;
        let rejected = set(1).await.unwrap();
        assert!(
            matches!(rejected, Err(Error::Overloaded { waiting: 2 })),
            "{rejected:?}"
        );
        busy.gate.open();
        for set in fit {
            set.await.unwrap().unwrap();
        }
        busy.gate.close();
        let arrived = busy.gate.arrived();
        spawn(&busy.store, &busy.key, |store, key| async move {
            store.get(&key).await
        });
        while busy.gate.arrived() == arrived {
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn values_of_calls_that_wait_again_for_a_locked_session_count_too() {
    let schema = Schema::new();
    let builder = patient(&schema).max_concurrency(2).max_waiting_bytes(100);
    let store = patient_store(&schema);
    let keys = keys(&store, 2);
    let mut holder = schema.client();
    let locked = lock(&mut holder, &keys[0]);
    let store = builder.build(store);
    let runtime = runtime();
    let set = |key: &Key| {
        let (store, key) = (store.clone(), key.clone());
        runtime.spawn(async move { store.set(&key, &"x".repeat(60), None).await })
    };
    // Each call is executed twice, the second time by the only worker for calls that may take long.
    let first = set(&keys[0]);
    wait_until("the first call waits on the server", || {
        store.stats().batches.calls == 2
    });
    let second = set(&keys[0]);
    wait_until("the second call waits in the queue", || {
        let stats = store.stats();
        (stats.batches.calls, stats.waiting) == (3, 1)
    });
    let rejected = runtime.block_on(set(&keys[1])).unwrap();
    assert!(
        matches!(rejected, Err(Error::Overloaded { .. })),
        "{rejected:?}"
    );
    locked.rollback().unwrap();
    for call in [first, second] {
        runtime.block_on(call).unwrap().unwrap();
    }
    runtime.block_on(set(&keys[1])).unwrap().unwrap();
}

#[test]
fn a_slow_server_does_not_get_a_flood_of_cancel_requests() {
    const TIMEOUT: Duration = Duration::from_millis(600);
    const WORKERS: u32 = 4;
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    schema.store();
    let inner = schema
        .builder()
        .max_connections(WORKERS)
        .min_idle(WORKERS)
        .connect(through(&proxy, &schema))
        .unwrap();
    wait_until("all connections are open", || {
        proxy.open() == WORKERS as usize
    });
    let key = inner.generate(Some("lobster"), None).unwrap();
    let builder = Offload::builder().timeout(TIMEOUT).max_batch(1);
    let store = builder.build(inner);
    let runtime = runtime();
    // This prepares the statement on all connections, and the facade measures how long it takes.
    for _ in 0..3 {
        let mut calls = JoinSet::new();
        for _ in 0..4 * WORKERS {
            let (store, key) = (store.clone(), key.clone());
            calls.spawn_on(async move { store.get(&key).await }, runtime.handle());
        }
        runtime.block_on(calls.join_all());
    }
    proxy.delay(Duration::from_millis(20));
    let before = proxy.accepted();
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..400 {
        let (store, key) = (store.clone(), key.clone());
        let call_repeatedly = async move {
            let (mut done, mut late) = (0, 0);
            while begun.elapsed() < TIMEOUT * 6 {
                match store.get(&key).await {
                    Ok(_) => done += 1,
                    // `StillRunning` if a busy machine does not confirm the cancel request in time.
                    Err(Error::TimedOut { .. } | Error::StillRunning { .. }) => late += 1,
                    Err(e) => panic!("{e}"),
                }
            }
            (done, late)
        };
        callers.spawn_on(call_repeatedly, runtime.handle());
    }
    let counts = runtime.block_on(callers.join_all());
    wait_until_idle(&store);
    let done: usize = counts.iter().map(|(done, _)| done).sum();
    let late: usize = counts.iter().map(|(_, late)| late).sum();
    // Each cancel request is a connection, and so is the replacement of a closed connection.
    let connections = proxy.accepted() - before;
    eprintln!("{done} calls done, {late} late, {connections} connections");
    assert!(late > 400 && done > 0, "{done} calls done, {late} late");
    assert!(
        connections <= 10 + done / 10,
        "{connections} connections for {done} calls"
    );
}
