//! Locks, threads, time and runtimes as the facade uses them. Under `--cfg shuttle`, `model/sync.rs` replaces
//! it.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{self, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

pub(super) use std::sync::MutexGuard;

/// A mutex without poisoning, because no code panics while it holds the lock.
pub(super) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Condvar(sync::Condvar);

impl Condvar {
    pub(super) fn new() -> Condvar {
        Condvar(sync::Condvar::new())
    }

    pub(super) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(super) fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        self.0
            .wait_timeout_while(guard, timeout, condition)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// Returns the current runtime, if any.
pub(super) fn current_runtime() -> Option<Handle> {
    Handle::try_current().ok()
}

/// Executes `work` on a thread that may block. If the runtime has shut down, drops it.
pub(super) fn spawn_blocking(runtime: &Handle, work: impl FnOnce() + Send + 'static) {
    // If the system has no thread, tokio panics, or does nothing if the pool has another thread. It keeps
    // `work` for the next free thread.
    let _ = catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(work)));
}

/// Returns the output of `work`, if it is done within this time of tokio, which tests can pause.
///
/// Panics if the runtime has no timers.
pub(super) fn timeout<T>(
    time: Duration,
    work: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> {
    let timeout = tokio::time::timeout(time, work);
    async { timeout.await.ok() }
}

/// Returns whether more than `time` has passed since then.
pub(super) fn has_passed(time: Duration, since: Instant) -> bool {
    since.elapsed() > time
}
