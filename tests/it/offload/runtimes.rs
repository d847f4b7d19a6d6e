//! Runtimes of every kind, runtimes that shut down, and calls without a runtime.

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

use super::{runtime as new_runtime, wait_until_idle};
use crate::support::wait_until;

/// Polls the future once, with or without a runtime.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_call_outside_of_a_runtime_is_an_error() {
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
fn a_current_thread_runtime_is_enough() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let store = Offload::new(MemoryStore::new());
    runtime.block_on(async {
        let key = store.generate(Some("lobster"), None).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap().value, "lobster");
    });
}

#[test]
fn a_facade_can_be_used_on_one_runtime_after_another() {
    let store = Offload::new(MemoryStore::new());
    let mut keys = Vec::new();
    for _ in 0..3 {
        let runtime = new_runtime();
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
fn calls_that_wait_when_the_runtime_shuts_down_return() {
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
    wait_until_idle(&store);
    for call in &mut calls {
        // The thread may have started the worker before it noticed the shutdown.
        let answer = poll_once(call.as_mut());
        assert!(matches!(answer, Poll::Ready(Ok(_) | Err(Error::Cancelled))));
    }
}

/// Returns a runtime whose only blocking thread is busy until the sender is dropped. No worker can begin there.
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
fn a_runtime_without_a_free_thread_does_not_delay_other_runtimes() {
    let (busy, release) = busy_runtime();
    let store = Offload::builder()
        .max_concurrency(2)
        .build(MemoryStore::new());
    let mut from_busy = Box::pin(store.generate(None, None));
    {
        let _inside = busy.enter();
        assert!(poll_once(from_busy.as_mut()).is_pending());
    }
    let free = new_runtime();
    free.block_on(store.generate(None, None)).unwrap();
    // The worker on the other runtime executed both calls.
    free.block_on(from_busy).unwrap();
    drop(release);
}

#[test]
fn calls_do_not_wait_for_a_worker_that_cannot_begin_on_another_runtime() {
    let (doomed, release) = busy_runtime();
    let store = Offload::builder()
        .max_concurrency(1)
        .build(MemoryStore::new());
    let mut from_doomed = Box::pin(store.generate(None, None));
    {
        let _inside = doomed.enter();
        assert!(poll_once(from_doomed.as_mut()).is_pending());
    }
    // The only worker that `max_concurrency` allows cannot begin on the doomed runtime.
    let living = new_runtime();
    living.block_on(store.generate(None, None)).unwrap();
    // The worker that began executed all waiting calls.
    living.block_on(from_doomed).unwrap();

    // The same if the worker on the doomed runtime never begins.
    wait_until_idle(&store);
    let mut from_doomed = Box::pin(store.generate(None, None));
    let mut answer = {
        let _inside = doomed.enter();
        // The worker on the other runtime may not have ended yet, and then answers at once.
        poll_once(from_doomed.as_mut())
    };
    doomed.shutdown_background();
    drop(release);
    living.block_on(store.generate(None, None)).unwrap();
    wait_until_idle(&store);
    if answer.is_pending() {
        answer = poll_once(from_doomed.as_mut());
    }
    assert!(matches!(answer, Poll::Ready(Ok(_) | Err(Error::Cancelled))));
}

#[test]
fn a_runtime_can_shut_down_while_callers_on_other_runtimes_are_busy() {
    let store = Offload::builder()
        .max_concurrency(1)
        .build(MemoryStore::new());
    let ending = new_runtime();
    let key = ending
        .block_on(store.generate(Some("lobster"), None))
        .unwrap();
    // The worker on this runtime still runs, and from now on there are always calls for it.
    let busy = new_runtime();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (store, key) = (store.clone(), key.clone());
            busy.spawn(async move { while store.get(&key).await.is_ok() {} })
        })
        .collect();
    wait_until("the worker is busy", || store.stats().batches.calls > 100);
    let end = thread::spawn(|| drop(ending));
    wait_until("the runtime has ended", || end.is_finished());
    let calls = store.stats().batches.calls;
    wait_until("more calls return", || store.stats().batches.calls > calls);
    busy.block_on(store.clear(&key)).unwrap();
    for caller in callers {
        busy.block_on(caller).unwrap();
    }
}

#[test]
fn a_call_after_the_runtime_has_shut_down_is_cancelled() {
    let runtime = new_runtime();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let store = Offload::new(MemoryStore::new());
    for _ in 0..3 {
        let _inside = handle.enter();
        let answer = poll_once(pin!(store.generate(None, None)));
        assert!(matches!(answer, Poll::Ready(Err(Error::Cancelled))));
        assert_eq!(store.stats().waiting, 0);
    }
    // The facade still works on another runtime.
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(store.generate(None, None)).unwrap();
}

#[test]
fn a_call_that_runs_when_the_runtime_shuts_down_is_completed() {
    let runtime = new_runtime();
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
    wait_until("the worker runs the call", || store.stats().running == 1);
    runtime.shutdown_background();
    drop(release);
    wait_until_idle(&store);
    assert!(matches!(poll_once(call.as_mut()), Poll::Ready(Ok(Ok(_)))));
}

#[tokio::test(start_paused = true)]
async fn calls_do_not_time_out_when_a_test_advances_the_paused_clock() {
    let store = Offload::new(MemoryStore::new());
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(60)).await;
        let key = store.generate(Some("lobster"), None).await.unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(store.get(&key).await.unwrap().value, "lobster");
    }
}
