//! The deadline of the work that a thread executes.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::Thread,
    time::{Duration, Instant},
};

thread_local! {
    static CURRENT: RefCell<Option<Deadline>> = const { RefCell::new(None) };
}

/// The time limit of some work, for example of one operation.
///
/// A thread executes the work in [`scope`](Self::scope). A TCP connection that a [`Connector`](crate::Connector)
/// has opened obeys the deadline of the thread that uses it: if the server has not answered
/// [`GRACE`](Self::GRACE) after the deadline, the statement fails and the connection is closed. On a Unix socket
/// there is no such limit. A [`Canceller`](crate::Canceller) sends a cancel request at the deadline, so that a
/// working server stops the statement earlier.
///
/// Clones share one deadline.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use postgres_connect::Deadline;
///
/// let mut client = postgres_connect::connect("host=db.example.com")?;
/// let deadline = Deadline::within(Duration::from_secs(2));
/// let answered = deadline.scope(|| client.batch_execute("SELECT 1"));
/// # Ok::<(), postgres_connect::Error>(())
/// ```
#[derive(Clone)]
pub struct Deadline(Arc<Shared>);

struct Shared {
    begun: Instant,
    /// The deadline of the work that this is a part of, which is not exceeded.
    outer: Option<Deadline>,
    state: Mutex<State>,
}

struct State {
    end: Instant,
    /// The threads that sleep until `end`.
    sleepers: Vec<Thread>,
}

impl Deadline {
    /// How long a server may take after a deadline to confirm a cancel request: 900 ms. Then its connection is
    /// closed.
    pub const GRACE: Duration = Duration::from_millis(900);

    /// The longest time limit: 100 years. [`within`](Self::within) shortens a longer one to this, because later
    /// instants may not exist.
    pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

    /// Returns the deadline of work that began at `begun` and must end at `end`. The deadline of this thread is
    /// ignored.
    pub fn new(begun: Instant, end: Instant) -> Deadline {
        Deadline::part(None, begun, end)
    }

    /// Returns a deadline that is `timeout` from now, at most [`LONGEST`](Self::LONGEST). If this thread has an
    /// earlier one, returns that. If the thread's deadline is brought forward later, so is this one.
    pub fn within(timeout: Duration) -> Deadline {
        let end = Instant::now() + timeout.min(Deadline::LONGEST);
        match Deadline::current() {
            Some(outer) if outer.end() <= end => outer,
            outer => Deadline::part(outer, Instant::now(), end),
        }
    }

    fn part(outer: Option<Deadline>, begun: Instant, end: Instant) -> Deadline {
        Deadline(Arc::new(Shared {
            begun,
            outer,
            state: Mutex::new(State {
                end,
                sleepers: Vec::new(),
            }),
        }))
    }

    /// Returns the deadline of the work that this thread executes, if it is inside of [`scope`](Self::scope).
    pub fn current() -> Option<Deadline> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Executes `work` and returns its result. Until then, this is the deadline of the thread.
    ///
    /// # Panics
    ///
    /// If `work` panics. The thread gets its earlier deadline back.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        let outer = CURRENT.replace(Some(self.clone()));
        let _restore = Restore(outer);
        work()
    }

    /// Returns the instant of the deadline.
    pub fn end(&self) -> Instant {
        let end = self.state().end;
        self.0
            .outer
            .as_ref()
            .map_or(end, |outer| outer.end().min(end))
    }

    /// Returns the time since the work began.
    pub fn elapsed(&self) -> Duration {
        self.0.begun.elapsed()
    }

    /// Returns the time until the deadline, zero if it has passed.
    pub fn remaining(&self) -> Duration {
        self.end().saturating_duration_since(Instant::now())
    }

    /// Returns whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Brings the deadline forward to now, for all clones. A running statement that a
    /// [`Canceller`](crate::Canceller) guards is cancelled. Any thread may call this.
    pub fn expire(&self) {
        let mut state = self.state();
        state.end = state.end.min(Instant::now());
        state.sleepers.iter().for_each(Thread::unpark);
    }

    /// Has `thread` unparked if the deadline is brought forward.
    pub(crate) fn wakes(&self, thread: &Thread) {
        let mut state = self.state();
        let is_new = |sleeper: &Thread| sleeper.id() != thread.id();
        if state.sleepers.iter().all(is_new) {
            state.sleepers.push(thread.clone());
        }
        drop(state);
        if let Some(outer) = &self.0.outer {
            outer.wakes(thread);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deadline").field(&self.end()).finish()
    }
}

/// Restores the outer deadline, also if the work panics.
struct Restore(Option<Deadline>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
