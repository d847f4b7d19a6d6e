//! A worker: one closure on tokio's blocking pool, which executes calls as long as some wait.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::{self, Handle};

use super::{
    Shared,
    queue::{Long, Next, Waiting},
    sync::{has_passed, spawn_blocking},
};
use crate::Store;

/// How long a worker takes calls of all runtimes. After that it goes on only while a call of its own runtime
/// is first: a runtime that shuts down waits for its workers, and must not wait as long as callers on others
/// have work.
const SHIFT: Duration = Duration::from_millis(100);

/// The means by which a worker executes calls.
pub(super) struct Context<'a, S: Store> {
    pub(super) shared: &'a Arc<Shared<S>>,
}

impl<S: Store> Context<'_, S> {
    /// Lets a call wait among those that may take long.
    pub(super) fn enter_again(&self, call: Waiting<Long<S>>) {
        start(self.shared, self.shared.queue.enter_again(call));
    }
}

/// Starts a worker if the queue says so.
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
            shared: &self.shared,
        };
        let begun = Instant::now();
        loop {
            let only_while_for = has_passed(SHIFT, begun).then_some(self.home);
            match queue.next(only_while_for) {
                Next::Work(batch, another) => {
                    start(&self.shared, another);
                    let (calls, is_long) = (batch.calls, batch.is_long);
                    // Callers have been told of their panics. What is left is an answer without a caller
                    // that panics when it is dropped.
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
