//! Limits to the time of blocking work on this thread, for whoever carries it out further down.

use std::{
    cell::Cell,
    thread::LocalKey,
    time::{Duration, Instant},
};

thread_local! {
    static CALL_END: Cell<Option<Instant>> = const { Cell::new(None) };
    static SILENCE_END: Cell<Option<Instant>> = const { Cell::new(None) };
    static LOCKS_END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// When the call that this thread carries out is to have ended.
pub(crate) const CALL: Limit = Limit(&CALL_END);

/// When a server that has not answered yet is given up, and its connection with it.
pub(crate) const SILENCE: Limit = Limit(&SILENCE_END);

/// Until when calls that are made together wait for what others have locked. Whoever sets this makes those
/// calls by themselves that then are [not answered](crate::Error::is_about_lock).
pub(crate) const LOCKS: Limit = Limit(&LOCKS_END);

/// For how long calls that are made together wait for what others have locked: longer than a commit takes on
/// a slow disk, and hardly noticed by those who have to wait along with somebody.
pub(crate) const LOCK_WAIT: Duration = Duration::from_millis(250);

/// What a longer time comes to: an instant beyond it may not exist.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The instant after so much time.
pub(crate) fn after(time: Duration) -> Instant {
    Instant::now() + time.min(FOR_EVER)
}

/// An instant that nobody lives to see.
pub(crate) fn never() -> Instant {
    after(Duration::MAX)
}

pub(crate) struct Limit(&'static LocalKey<Cell<Option<Instant>>>);

impl Limit {
    /// The limit that this thread is under, where there is one.
    pub(crate) fn current(&self) -> Option<Instant> {
        self.0.get()
    }

    /// Does `work` under a limit, or under the one that it has already where that is earlier.
    pub(crate) fn within<T>(&self, end: Instant, work: impl FnOnce() -> T) -> T {
        let outer = self.current();
        let _restore = Restore(self.0, outer);
        self.0.set(Some(outer.map_or(end, |outer| outer.min(end))));
        work()
    }
}

/// Puts the outer limit back, also where the work panics.
struct Restore(&'static LocalKey<Cell<Option<Instant>>>, Option<Instant>);

impl Drop for Restore {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}
