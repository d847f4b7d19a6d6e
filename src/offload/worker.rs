//! A worker: one closure on tokio's blocking pool that executes batches as long as calls wait.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::{self, Handle};

use super::{
    drop::DroppedOnThread,
    history::History,
    job::Context,
    queue::{Next, Queue},
    sync::{has_passed, spawn_blocking},
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
    pub(super) timeout: Duration,
}

/// Starts a worker on the runtime that the queue has returned, if any.
pub(super) fn start<S: Store>(shared: &Arc<Shared<S>>, home: Option<Handle>) {
    if let Some(home) = home {
        let worker = Worker {
            shared: shared.clone(),
            home: home.id(),
            has_begun: false,
        };
        spawn_blocking(&home, || worker.run());
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
        let context = Context {
            store: &*self.shared.store,
            history: &self.shared.history,
            timeout: self.shared.timeout,
            enter_again: &|call| start(&self.shared, queue.enter_again(call)),
        };
        let begun = Instant::now();
        loop {
            let only_while_for = has_passed(SHIFT, begun).then_some(self.home);
            match queue.next(only_while_for, || context.history.typical_size()) {
                Next::Work(batch, another) => {
                    start(&self.shared, another);
                    let (calls, is_long) = (batch.calls, batch.is_long);
                    // The callers have their panics. Only an answer without a caller can panic here, when it is
                    // dropped.
                    let _ = catch_unwind(AssertUnwindSafe(|| (batch.work)(&context)));
                    queue.done(calls, is_long);
                }
                Next::Close(another) => return start(&self.shared, another),
            }
        }
    }
}

/// A runtime that has shut down drops the workers that are started on it.
impl<S: Store> Drop for Worker<S> {
    fn drop(&mut self) {
        if !self.has_begun {
            let (another, lost) = self.shared.queue.lost(self.home);
            start(&self.shared, another);
            drop(lost);
        }
    }
}
