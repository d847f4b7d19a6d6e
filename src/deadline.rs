//! The deadline of the call that a thread executes.
//!
//! It is a thread-local, so that it passes through stores that wrap another one. Nothing else is passed
//! that way.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::Thread,
    time::{Duration, Instant},
};

thread_local! {
    static CURRENT: RefCell<Option<Deadline>> = const { RefCell::new(None) };
}

/// How long after its deadline a call waits for the server to confirm that it was cancelled. Callers wait for
/// a second, of which some is left for the way back.
pub(crate) const GRACE: Duration = Duration::from_millis(900);

/// A longer time counts as this one, because an instant beyond it may not exist.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The instant after `time`.
pub(crate) fn after(time: Duration) -> Instant {
    Instant::now() + time.min(LONGEST)
}

/// When a call has to end. Clones share one instant, which can be brought forward.
#[derive(Clone)]
pub(crate) struct Deadline(Arc<Shared>);

struct Shared {
    begun: Instant,
    /// The deadline of the call that this is a part of, which is not exceeded.
    outer: Option<Deadline>,
    state: Mutex<State>,
}

struct State {
    end: Instant,
    /// The thread that sleeps until `end`.
    sleeper: Option<Thread>,
}

impl Deadline {
    /// The deadline of a call that began at `begun`.
    pub(crate) fn new(begun: Instant, end: Instant) -> Deadline {
        Deadline::part(None, begun, end)
    }

    /// The deadline of work that has so much time from now on, and is a part of the call that this thread
    /// executes, if it executes one.
    pub(crate) fn within(timeout: Duration) -> Deadline {
        let end = after(timeout);
        match Deadline::current() {
            Some(outer) if outer.end() <= end => outer,
            outer => Deadline::part(outer, Instant::now(), end),
        }
    }

    fn part(outer: Option<Deadline>, begun: Instant, end: Instant) -> Deadline {
        Deadline(Arc::new(Shared {
            begun,
            outer,
            state: Mutex::new(State { end, sleeper: None }),
        }))
    }

    /// The deadline of the call that this thread executes.
    pub(crate) fn current() -> Option<Deadline> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Executes `work`, for which this is the deadline.
    pub(crate) fn of<T>(&self, work: impl FnOnce() -> T) -> T {
        let outer = CURRENT.replace(Some(self.clone()));
        let _restore = Restore(outer);
        work()
    }

    pub(crate) fn end(&self) -> Instant {
        let end = self.state().end;
        self.0
            .outer
            .as_ref()
            .map_or(end, |outer| outer.end().min(end))
    }

    /// How long the call has taken until now.
    pub(crate) fn waited(&self) -> Duration {
        self.0.begun.elapsed()
    }

    pub(crate) fn left(&self) -> Duration {
        self.end().saturating_duration_since(Instant::now())
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.left().is_zero()
    }

    /// Ends the time of the call now.
    pub(crate) fn expire(&self) {
        let mut state = self.state();
        state.end = state.end.min(Instant::now());
        if let Some(sleeper) = &state.sleeper {
            sleeper.unpark();
        }
    }

    /// Has `thread` unparked if the deadline is brought forward.
    pub(crate) fn wakes(&self, thread: &Thread) {
        self.state().sleeper = Some(thread.clone());
        if let Some(outer) = &self.0.outer {
            outer.wakes(thread);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Restores the outer deadline, also if the work panics.
struct Restore(Option<Deadline>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
