//! When blocking work on this thread is to have ended, for whoever carries it out further down.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

thread_local! {
    static CURRENT: Cell<Option<Instant>> = const { Cell::new(None) };
}

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

/// The deadline of the work that this thread does, where it has one.
pub(crate) fn current() -> Option<Instant> {
    CURRENT.get()
}

/// Does `work` under a deadline, or under the one that it has already where that is earlier.
pub(crate) fn within<T>(deadline: Instant, work: impl FnOnce() -> T) -> T {
    let outer = current();
    let _restore = Restore(outer);
    CURRENT.set(Some(outer.map_or(deadline, |outer| outer.min(deadline))));
    work()
}

/// Puts the outer deadline back, also where the work panics.
struct Restore(Option<Instant>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}
