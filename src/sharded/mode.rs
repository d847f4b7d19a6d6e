//! The two ways to make the calls of several servers: on tasks, or on threads.
//!
//! The rest of this directory is written once, with futures. The future of a blocking call makes the call when it is polled
//! for the first time, and is ready then.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{runtime::Handle, time::timeout};

use crate::{AsyncStore, Error, Period, ShardMap, Store, deadline::Deadline};

pub(super) trait Mode<S>: 'static {
    /// Makes calls at the same time. Returns their results in the order of the calls.
    fn all<T: Send, F: Future<Output = T> + Send>(
        calls: Vec<F>,
    ) -> impl Future<Output = Vec<T>> + Send;

    /// Makes a call that ends at a time limit. Returns `None` if it was given up then.
    fn within<T: Send, F: Future<Output = T> + Send>(
        limit: Duration,
        call: F,
    ) -> impl Future<Output = Option<T>> + Send;

    /// Whether the work of which the call is a part has exceeded its own deadline.
    fn is_too_late() -> bool;

    fn join_map(
        store: &S,
        server: &str,
        map: &ShardMap,
    ) -> impl Future<Output = Result<Option<ShardMap>, Error>> + Send;

    fn default_period(store: &S) -> Period;

    fn set_default_period(store: &S, period: Period);
}

/// For an [`AsyncStore`].
pub(super) struct OnTasks;

impl<A: AsyncStore> Mode<A> for OnTasks {
    async fn all<T: Send, F: Future<Output = T> + Send>(calls: Vec<F>) -> Vec<T> {
        join_all(calls).await
    }

    async fn within<T: Send, F: Future<Output = T> + Send>(limit: Duration, call: F) -> Option<T> {
        match Handle::try_current() {
            Ok(_) => timeout(limit, call).await.ok(),
            // Without a runtime there is no timer. An `Offload` fails at once.
            Err(_) => Some(call.await),
        }
    }

    fn is_too_late() -> bool {
        false
    }

    async fn join_map(store: &A, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        store.join_map(server, map).await
    }

    fn default_period(store: &A) -> Period {
        store.default_period()
    }

    fn set_default_period(store: &A, period: Period) {
        store.set_default_period(period);
    }
}

/// For a [`Store`].
pub(super) struct OnThreads;

impl<S: Store> Mode<S> for OnThreads {
    /// Each thread takes calls until none is left. If the system has no more threads, the present one makes all of them.
    async fn all<T: Send, F: Future<Output = T> + Send>(calls: Vec<F>) -> Vec<T> {
        let count = calls.len();
        let left = Mutex::new(calls.into_iter().enumerate());
        let done: Mutex<Vec<Option<T>>> = Mutex::new((0..count).map(|_| None).collect());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((place, call)) = next() {
                let result = wait(call);
                done.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(result);
            }
        };
        let deadline = Deadline::current();
        thread::scope(|scope| {
            for _ in 1..count {
                let spawned = thread::Builder::new().spawn_scoped(scope, || match &deadline {
                    Some(deadline) => deadline.scope(work),
                    None => work(),
                });
                if spawned.is_err() {
                    break;
                }
            }
            work();
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.into_iter().flatten().collect()
    }

    /// The store ends the call at the deadline of the thread.
    async fn within<T: Send, F: Future<Output = T> + Send>(limit: Duration, call: F) -> Option<T> {
        Some(Deadline::within(limit).scope(|| wait(call)))
    }

    fn is_too_late() -> bool {
        Deadline::current().is_some_and(|deadline| deadline.has_passed())
    }

    async fn join_map(store: &S, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        store.join_map(server, map)
    }

    fn default_period(store: &S) -> Period {
        store.default_period()
    }

    fn set_default_period(store: &S, period: Period) {
        store.set_default_period(period);
    }
}

/// Executes a future on this thread.
pub(super) fn wait<T>(call: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(ThisThread(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut call = pin!(call);
    loop {
        match call.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            // It waits for a check that another thread makes.
            Poll::Pending => thread::park(),
        }
    }
}

struct ThisThread(Thread);

impl Wake for ThisThread {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::MemoryStore;

    type Threads = OnThreads;

    fn all<T: Send>(calls: Vec<impl Future<Output = T> + Send>) -> Vec<T> {
        wait(<Threads as Mode<MemoryStore>>::all(calls))
    }

    #[test]
    fn blocking_calls_are_made_at_the_same_time_and_return_in_order() {
        let together = std::sync::Barrier::new(3);
        let together = &together;
        let calls = (0..3).map(|call| async move {
            together.wait();
            call
        });
        assert_eq!(all(calls.collect()), [0, 1, 2]);
    }

    #[test]
    fn the_deadline_of_the_thread_applies_to_all_calls() {
        let deadline = Deadline::within(Duration::from_secs(1_000));
        let ends = deadline.scope(|| {
            let calls = (0..3).map(|_| async { Deadline::current().map(|d| d.end()) });
            all(calls.collect())
        });
        assert_eq!(ends, [Some(deadline.end()); 3]);
    }

    #[test]
    fn a_panic_of_a_call_reaches_the_caller() {
        let made = std::panic::catch_unwind(|| {
            let calls = (0..3).map(|call| async move { assert_ne!(call, 1) });
            all(calls.collect())
        });
        assert!(made.is_err());
    }
}
