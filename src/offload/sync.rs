//! Locks, threads, time and runtimes as the facade uses them. Under `--cfg shuttle` the tests put
//! `model/sync.rs` in its place.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{self, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

pub(super) use std::sync::MutexGuard;

/// A mutex that takes no notice of panics: nothing that is done under it panics half way.
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

/// The runtime that this is called from, if any.
pub(super) fn current_runtime() -> Option<Handle> {
    Handle::try_current().ok()
}

/// Runs `work` on a thread for what blocks, or drops it where the runtime has shut down.
pub(super) fn spawn_blocking(runtime: &Handle, work: impl FnOnce() + Send + 'static) {
    // Where the system gives tokio no thread for it, tokio panics, and keeps it for the next it has.
    let _ = catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(work)));
}

/// What comes of `work` by then, if anything.
///
/// Panics where the runtime has no timers.
pub(super) fn timeout_at<T>(
    deadline: Instant,
    work: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> {
    let timeout = tokio::time::timeout_at(deadline.into(), work);
    async { timeout.await.ok() }
}

/// Whether so much time has passed since then.
pub(super) fn has_passed(time: Duration, since: Instant) -> bool {
    since.elapsed() > time
}
