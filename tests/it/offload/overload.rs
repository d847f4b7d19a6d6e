//! More calls than may wait.

use std::time::{Duration, Instant};

use session_postgres::{AsyncStore, Error, Offload, OffloadBuilder, Store};
use tokio::task::JoinSet;

use super::{Busy, runtime, spawn, wait_for_rest};
use crate::{
    connect::through,
    support::{database::Schema, line::Line, wait_until},
};

#[tokio::test]
async fn a_call_too_many_is_turned_away_at_once_and_the_others_are_served() {
    let busy = Busy::new(OffloadBuilder::default().max_waiting(2));
    busy.taken().await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            spawn(&busy.store, &busy.key, |store, key| async move {
                store.get(&key).await
            })
        })
        .collect();
    busy.waiting(2).await;
    let turned_away = busy.store.set(&busy.key, "crab", None).await;
    assert!(
        matches!(turned_away, Err(Error::Overloaded { waiting: 2 })),
        "{turned_away:?}"
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
    assert_eq!(busy.store.stats().overloads, 3);

    busy.gate.open();
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().value, "lobster");
    }
    busy.store.set(&busy.key, "crab", None).await.unwrap();
}

#[tokio::test]
async fn values_beyond_the_limit_of_bytes_are_turned_away() {
    let busy = Busy::new(OffloadBuilder::default().max_waiting_bytes(100));
    busy.taken().await;
    let set = |bytes: usize| {
        spawn(&busy.store, &busy.key, move |store, key| async move {
            store.set(&key, &"x".repeat(bytes), None).await
        })
    };
    // One may wait, whatever its size.
    let large = set(1000);
    busy.waiting(1).await;
    for bytes in [1, 1000] {
        let turned_away = set(bytes).await.unwrap();
        assert!(
            matches!(turned_away, Err(Error::Overloaded { waiting: 1 })),
            "{turned_away:?}"
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
async fn values_up_to_the_limit_of_bytes_may_wait() {
    let busy = Busy::new(OffloadBuilder::default().max_waiting_bytes(100));
    let set = |bytes: usize| {
        spawn(&busy.store, &busy.key, move |store, key| async move {
            store.set(&key, &"x".repeat(bytes), None).await
        })
    };
    busy.taken().await;
    // Those of the first round no longer count in the second.
    for _ in 0..2 {
        let fit = [set(40), set(60)];
        busy.waiting_or_done(2, &fit).await;
        let turned_away = set(1).await.unwrap();
        assert!(
            matches!(turned_away, Err(Error::Overloaded { waiting: 2 })),
            "{turned_away:?}"
        );
        busy.gate.open();
        for set in fit {
            set.await.unwrap().unwrap();
        }
        busy.gate.close();
        let came = busy.gate.came();
        spawn(&busy.store, &busy.key, |store, key| async move {
            store.get(&key).await
        });
        while busy.gate.came() == came {
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn a_server_that_is_too_slow_is_not_flooded_with_cancel_requests() {
    const TIMEOUT: Duration = Duration::from_millis(600);
    const WORKERS: u32 = 4;
    let schema = Schema::new();
    let line = Line::to(&schema.config());
    schema.store();
    let inner = schema
        .builder()
        .max_connections(WORKERS)
        .min_idle(WORKERS)
        .connect(through(&line, &schema))
        .unwrap();
    wait_until("all connections are open", || {
        line.open() == WORKERS as usize
    });
    let key = inner.generate(Some("lobster"), None).unwrap();
    let builder = Offload::builder().timeout(TIMEOUT).max_batch(1);
    let store = builder.build(inner);
    let runtime = runtime();
    // All connections have prepared the statement, and the facade knows how long it takes.
    for _ in 0..3 {
        let mut calls = JoinSet::new();
        for _ in 0..4 * WORKERS {
            let (store, key) = (store.clone(), key.clone());
            calls.spawn_on(async move { store.get(&key).await }, runtime.handle());
        }
        runtime.block_on(calls.join_all());
    }
    line.delay(Duration::from_millis(20));
    let before = line.accepted();
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..400 {
        let (store, key) = (store.clone(), key.clone());
        let call_on_and_on = async move {
            let (mut done, mut late) = (0, 0);
            while begun.elapsed() < TIMEOUT * 6 {
                match store.get(&key).await {
                    Ok(_) => done += 1,
                    // On a busy machine the server's confirmation may come too late.
                    Err(Error::TimedOut { .. } | Error::StillRunning { .. }) => late += 1,
                    Err(e) => panic!("{e}"),
                }
            }
            (done, late)
        };
        callers.spawn_on(call_on_and_on, runtime.handle());
    }
    let counts = runtime.block_on(callers.join_all());
    wait_for_rest(&store);
    let done: usize = counts.iter().map(|(done, _)| done).sum();
    let late: usize = counts.iter().map(|(_, late)| late).sum();
    // A cancel request is a connection, as is one that replaces another.
    let connections = line.accepted() - before;
    eprintln!("{done} calls done, {late} late, {connections} connections");
    assert!(late > 400 && done > 0, "{done} calls done, {late} late");
    assert!(
        connections <= 10 + done / 10,
        "{connections} connections for {done} calls"
    );
}
