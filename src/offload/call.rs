//! The state that callers and workers share: of one call, and of the calls of one batch.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    Error,
    deadline::Deadline,
    observe::{Histogram, trace::Span},
};

/// The callers of a batch that a worker executes, and its deadline.
pub(super) struct Round {
    pub(super) deadline: Deadline,
    /// The number of callers that wait. The worker counts as one while it adds calls.
    callers: AtomicUsize,
}

impl Round {
    pub(super) fn new(deadline: Deadline) -> Arc<Round> {
        Arc::new(Round {
            deadline,
            callers: AtomicUsize::new(1),
        })
    }

    /// Ends the addition of calls.
    pub(super) fn is_complete(&self) {
        self.leave();
    }

    /// Counts one caller fewer. If none is left, the deadline passes now.
    fn leave(&self) {
        if self.callers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.deadline.expire();
        }
    }
}

/// Decides whether a call is executed: a worker takes it, or its caller withdraws it, but never both.
#[derive(Default)]
pub(super) struct Claim(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    /// A worker executes it, or will do so again.
    Taken(Arc<Round>),
    /// Its caller has gone.
    Gone,
}

impl Claim {
    /// Adds the call to a round. Returns false if its caller has gone.
    pub(super) fn take(&self, round: &Arc<Round>) -> bool {
        let mut state = self.state();
        if matches!(*state, State::Gone) {
            return false;
        }
        round.callers.fetch_add(1, Ordering::SeqCst);
        *state = State::Taken(round.clone());
        true
    }

    /// Withdraws the call, unless a worker has taken it. Returns whether it will never be executed.
    pub(super) fn withdraw(&self) -> bool {
        let mut state = self.state();
        if matches!(*state, State::Waiting) {
            *state = State::Gone;
        }
        matches!(*state, State::Gone)
    }

    /// Lets the call wait again, for another worker to take it.
    pub(super) fn release(&self) {
        let mut state = self.state();
        if let State::Taken(round) = &*state {
            round.leave();
            *state = State::Waiting;
        }
    }

    fn leave(&self) {
        let left = mem::replace(&mut *self.state(), State::Gone);
        if let State::Taken(round) = left {
            round.leave();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that waits. Dropped before it is answered, it cancels its call.
pub(super) struct Caller {
    pub(super) claim: Arc<Claim>,
    pub(super) is_answered: bool,
}

impl Drop for Caller {
    fn drop(&mut self) {
        if !self.is_answered {
            self.claim.leave();
        }
    }
}

/// The result of a call, or the panic that it ended in.
pub(super) type Answer<T> = thread::Result<Result<T, Error>>;

/// The connection between a call and its caller.
pub(super) struct Ticket<T> {
    pub(super) claim: Arc<Claim>,
    pub(super) reply: oneshot::Sender<Answer<T>>,
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
    pub(super) home: Handle,
    pub(super) span: Span,
    /// Whether the call has left the queue before, for example because it waits for a lock.
    pub(super) was_taken: bool,
}

impl<T> Ticket<T> {
    pub(super) fn answer(self, answer: Answer<T>) {
        let answer = answer.map(|result| match result {
            Err(Error::TimedOut { reason, .. }) => Err(Error::TimedOut {
                waited: self.begun.elapsed(),
                reason,
            }),
            result => result,
        });
        // If the caller is gone, the answer is dropped.
        let _ = self.reply.send(answer);
    }

    /// Records the time in the queue, the first time that the call leaves it.
    pub(super) fn leaves_queue(&mut self, queue_seconds: &Histogram) {
        if !mem::replace(&mut self.was_taken, true) {
            queue_seconds.record_time(self.begun.elapsed());
        }
    }

    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
