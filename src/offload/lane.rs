//! A lane: one closure on tokio's blocking pool, that carries out calls as long as some wait.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::{self, Handle};

use super::{
    Shared,
    queue::Next,
    sync::{has_passed, spawn_blocking},
};
use crate::{Store, deadline};

/// How long a lane serves whoever comes. After that it goes on only while a call from its own runtime is
/// first: one that shuts down waits for its lanes, and must not wait for as long as callers on others
/// have work.
const SHIFT: Duration = Duration::from_millis(100);

/// Opens a lane where the queue says so.
pub(super) fn open<S: Store>(shared: &Arc<Shared<S>>, home: Option<Handle>) {
    if let Some(home) = home {
        let lane = Lane {
            shared: shared.clone(),
            home: home.id(),
            has_begun: false,
        };
        spawn_blocking(&home, || lane.run());
    }
}

struct Lane<S: Store> {
    shared: Arc<Shared<S>>,
    /// The runtime that it was opened on.
    home: runtime::Id,
    has_begun: bool,
}

impl<S: Store> Lane<S> {
    fn run(mut self) {
        self.has_begun = true;
        let Shared { store, queue, .. } = &*self.shared;
        queue.begun(self.home);
        let begun = Instant::now();
        let mut done = 0;
        loop {
            let only_while_for = has_passed(SHIFT, begun).then_some(self.home);
            match queue.next(done, only_while_for) {
                Next::Work(batch, another) => {
                    open(&self.shared, another);
                    let work = || deadline::CALL.within(batch.deadline, || (batch.work)(store));
                    // Callers have been told of theirs. What is left is an answer that nobody wants
                    // and that panics when it is dropped.
                    let _ = catch_unwind(AssertUnwindSafe(work));
                    done = batch.calls;
                }
                Next::Close(another) => return open(&self.shared, another),
            }
        }
    }
}

/// A runtime that has shut down drops the lanes that it is given.
impl<S: Store> Drop for Lane<S> {
    fn drop(&mut self) {
        if !self.has_begun {
            let (another, given_up) = self.shared.queue.lost(self.home);
            open(&self.shared, another);
            drop(given_up);
        }
    }
}
