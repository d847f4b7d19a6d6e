//! Runtimes of all kinds, that shut down, or are not there.

use std::{
    future::Future,
    pin::pin,
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use session_postgres::{AsyncStore, Error, MemoryStore, Offload, Store};
use tokio::runtime::{Builder, Runtime};

use super::wait_for_rest;
use crate::support::wait_until;

/// Polls once, in whatever context there is.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn outside_of_a_runtime_a_call_says_so() {
    let store = Offload::new(MemoryStore::new());
    let call = poll_once(pin!(store.generate(None, None)));
    assert!(matches!(call, Poll::Ready(Err(Error::NoRuntime))));
    let run = poll_once(pin!(store.run(|_| ())));
    assert!(matches!(run, Poll::Ready(Err(Error::NoRuntime))));
    let connect = poll_once(pin!(Offload::connect("host=/nowhere")));
    assert!(matches!(connect, Poll::Ready(Err(Error::NoRuntime))));
    assert_eq!(store.stats().waiting, 0);
}

#[test]
fn a_runtime_of_one_thread_is_enough() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let store = Offload::new(MemoryStore::new());
    runtime.block_on(async {
        let key = store.generate(Some("lobster"), None).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap().value, "lobster");
    });
}

#[test]
fn a_store_outlives_a_runtime_and_serves_the_next() {
    let store = Offload::new(MemoryStore::new());
    let mut keys = Vec::new();
    for _ in 0..3 {
        let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
        keys.push(
            runtime
                .block_on(store.generate(Some("lobster"), None))
                .unwrap(),
        );
        for key in &keys {
            assert_eq!(runtime.block_on(store.get(key)).unwrap().value, "lobster");
        }
    }
}

#[test]
fn calls_that_wait_when_the_runtime_shuts_down_are_not_left_alone() {
    let (runtime, release) = busy_runtime();
    let store = Offload::new(MemoryStore::new());
    let mut calls: Vec<_> = (0..3)
        .map(|_| Box::pin(store.generate(None, None)))
        .collect();
    {
        let _inside = runtime.enter();
        for call in &mut calls {
            assert!(poll_once(call.as_mut()).is_pending());
        }
    }
    assert_eq!(store.stats().waiting, 3);
    runtime.shutdown_background();
    drop(release);
    wait_for_rest(&store);
    for call in &mut calls {
        // The thread may have found the worker before it found out about the end.
        let answer = poll_once(call.as_mut());
        assert!(matches!(answer, Poll::Ready(Ok(_) | Err(Error::Cancelled))));
    }
}

/// A runtime whose one thread for what blocks is busy, so that no worker begins there, until the other is
/// dropped.
fn busy_runtime() -> (Runtime, mpsc::Sender<()>) {
    let runtime = Builder::new_multi_thread()
        .max_blocking_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    runtime.spawn_blocking(move || {
        begun.send(()).unwrap();
        let _ = released.recv();
    });
    has_begun.recv().unwrap();
    (runtime, release)
}

#[test]
fn a_runtime_without_a_free_thread_holds_up_no_other() {
    let (busy, release) = busy_runtime();
    let store = Offload::builder()
        .max_concurrency(2)
        .build(MemoryStore::new());
    let mut from_busy = Box::pin(store.generate(None, None));
    {
        let _inside = busy.enter();
        assert!(poll_once(from_busy.as_mut()).is_pending());
    }
    let free = Builder::new_multi_thread().enable_time().build().unwrap();
    free.block_on(store.generate(None, None)).unwrap();
    // And the worker that came took both calls.
    free.block_on(from_busy).unwrap();
    drop(release);
}

#[test]
fn callers_on_another_runtime_do_not_wait_for_a_worker_that_cannot_begin() {
    let (doomed, release) = busy_runtime();
    let store = Offload::builder()
        .max_concurrency(1)
        .build(MemoryStore::new());
    let mut from_doomed = Box::pin(store.generate(None, None));
    {
        let _inside = doomed.enter();
        assert!(poll_once(from_doomed.as_mut()).is_pending());
    }
    // The only worker there may be is to begin on the doomed runtime, and cannot.
    let living = Builder::new_multi_thread().enable_time().build().unwrap();
    living.block_on(store.generate(None, None)).unwrap();
    // The worker that began served all that waited.
    living.block_on(from_doomed).unwrap();

    // Nor is one missed that never begins.
    wait_for_rest(&store);
    let mut from_doomed = Box::pin(store.generate(None, None));
    {
        let _inside = doomed.enter();
        assert!(poll_once(from_doomed.as_mut()).is_pending());
    }
    doomed.shutdown_background();
    drop(release);
    living.block_on(store.generate(None, None)).unwrap();
    wait_for_rest(&store);
    let answer = poll_once(from_doomed.as_mut());
    assert!(matches!(answer, Poll::Ready(Ok(_) | Err(Error::Cancelled))));
}

#[test]
fn a_runtime_does_not_wait_for_callers_on_others() {
    let store = Offload::builder()
        .max_concurrency(1)
        .build(MemoryStore::new());
    let ending = Builder::new_multi_thread().enable_time().build().unwrap();
    let key = ending
        .block_on(store.generate(Some("lobster"), None))
        .unwrap();
    // Its worker is open still, and from now on has no rest.
    let busy = Builder::new_multi_thread().enable_time().build().unwrap();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (store, key) = (store.clone(), key.clone());
            busy.spawn(async move { while store.get(&key).await.is_ok() {} })
        })
        .collect();
    wait_until("the worker to be busy", || store.stats().calls > 100);
    let end = thread::spawn(|| drop(ending));
    wait_until("the runtime to end", || end.is_finished());
    let calls = store.stats().calls;
    wait_until("callers to be served on", || store.stats().calls > calls);
    busy.block_on(store.clear(&key)).unwrap();
    for caller in callers {
        busy.block_on(caller).unwrap();
    }
}

#[test]
fn a_call_after_the_runtime_has_shut_down_is_cancelled() {
    let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let store = Offload::new(MemoryStore::new());
    for _ in 0..3 {
        let _inside = handle.enter();
        let answer = poll_once(pin!(store.generate(None, None)));
        assert!(matches!(answer, Poll::Ready(Err(Error::Cancelled))));
        assert_eq!(store.stats().waiting, 0);
    }
    // The next runtime finds the store in order.
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(store.generate(None, None)).unwrap();
}

#[test]
fn a_call_that_runs_when_the_runtime_shuts_down_is_carried_out() {
    let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
    let store = Offload::new(MemoryStore::new());
    let (release, released) = mpsc::channel::<()>();
    let mut call = Box::pin(store.run(move |store| {
        let _ = released.recv();
        store.generate(Some("lobster"), None)
    }));
    {
        let _inside = runtime.enter();
        assert!(poll_once(call.as_mut()).is_pending());
    }
    wait_until("the worker to have it", || store.stats().running == 1);
    runtime.shutdown_background();
    drop(release);
    wait_for_rest(&store);
    assert!(matches!(poll_once(call.as_mut()), Poll::Ready(Ok(Ok(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_a_test_advances_makes_no_call_late() {
    let store = Offload::new(MemoryStore::new());
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(60)).await;
        let key = store.generate(Some("lobster"), None).await.unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(store.get(&key).await.unwrap().value, "lobster");
    }
}
