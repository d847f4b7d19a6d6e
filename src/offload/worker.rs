//! A worker: one closure on tokio's blocking pool that executes batches as long as calls wait.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime;

use super::{
    drop::DroppedOnThread,
    history::History,
    job::Context,
    load::Executing,
    queue::{Next, Queue, Wake},
    queues::Batch,
    stats::OffloadCounters,
    sync::{Condvar, has_passed, spawn_blocking},
};
use crate::Store;

/// How long a worker takes calls of all runtimes. After that, it continues only while a call of its own runtime
/// is first. A runtime that shuts down waits for its workers, and must not wait until other runtimes have no
/// more calls.
const SHIFT: Duration = Duration::from_millis(100);

/// The state that the handles and the workers of a facade share.
pub(super) struct Shared<S: Store> {
    pub(super) store: DroppedOnThread<S>,
    pub(super) queue: Queue<S>,
    pub(super) history: History,
    pub(super) counters: OffloadCounters,
    pub(super) timeout: Duration,
}

/// Wakes the worker that the queue has returned, if any.
pub(super) fn wake<S: Store>(shared: &Arc<Shared<S>>, worker: Option<Wake>) {
    match worker {
        Some(Wake::Idle(idle)) => idle.notify_one(),
        Some(Wake::New(home)) => {
            let worker = Worker {
                shared: shared.clone(),
                home: home.id(),
                has_begun: false,
            };
            spawn_blocking(&home, || worker.run());
        }
        None => {}
    }
}

struct Worker<S: Store> {
    shared: Arc<Shared<S>>,
    /// The runtime that it was started on.
    home: runtime::Id,
    has_begun: bool,
}

impl<S: Store> Worker<S> {
    fn run(mut self) {
        self.has_begun = true;
        let queue = &self.shared.queue;
        if !queue.begin(self.home) {
            return;
        }
        let idle = Arc::new(Condvar::new());
        let begun = Instant::now();
        loop {
            let only_while_for = has_passed(SHIFT, begun).then_some(self.home);
            let typical_size = || self.shared.history.typical_size();
            match queue.next(&idle, only_while_for, typical_size) {
                Next::Work(batch, executing, another) => {
                    wake(&self.shared, another);
                    self.execute(batch, executing);
                }
                Next::Close(another) => return wake(&self.shared, another),
            }
        }
    }

    fn execute(&self, batch: Batch<S>, executing: Executing) {
        let Shared {
            store,
            queue,
            history,
            counters,
            timeout,
        } = &*self.shared;
        let is_done = Cell::new(false);
        let done = || {
            if !is_done.replace(true) {
                queue.done(executing);
            }
        };
        let context = Context {
            store: &**store,
            history,
            counters,
            timeout: *timeout,
            enter_again: &|call| {
                counters.begin_waiting();
                wake(&self.shared, queue.enter_again(call));
            },
            done: &done,
        };
        // The callers have their panics. An answer without a caller can panic here, when it is dropped, and so can a
        // recorder of metrics.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _running = counters.taken(executing.calls);
            (batch.work)(&context);
        }));
        done();
    }
}

/// A runtime that has shut down drops the workers that are started on it.
impl<S: Store> Drop for Worker<S> {
    fn drop(&mut self) {
        if !self.has_begun {
            let (another, lost) = self.shared.queue.lost(self.home);
            wake(&self.shared, another);
            let calls = lost.iter().map(|batch| batch.calls).sum();
            self.shared.counters.end_waiting(calls);
            drop(lost);
        }
    }
}
