//! The effect of a call, as far as its result tells it, and a count of all results.

use std::{collections::BTreeMap, fmt, sync::Mutex, time::Duration};

use session_postgres::Error;

use crate::concurrent::checker::Answer;

/// The effect of a call, as far as its result tells it.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// The call took effect, and this is its answer.
    Known(T),
    /// The call had no effect and will have none.
    NoEffect,
    /// The call has taken effect once, or will, or never does.
    Unknown,
}

impl<T> Outcome<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Known(value) => Outcome::Known(change(value)),
            Outcome::NoEffect => Outcome::NoEffect,
            Outcome::Unknown => Outcome::Unknown,
        }
    }
}

/// The effect of a failed call. No other code decides this.
pub(super) fn outcome(error: &Error) -> Outcome<Answer> {
    match error {
        Error::NotFound => Outcome::Known(Answer::NotFound),
        Error::NotSet => Outcome::Known(Answer::NotSet),
        Error::KeyExists => Outcome::Known(Answer::KeyExists),
        Error::Disconnected(_) => Outcome::Unknown,
        // From a facade over a store that cannot cancel.
        other if other.to_string().contains("may still run") => Outcome::Unknown,
        _ => Outcome::NoEffect,
    }
}

/// The number of occurrences of each result, and the duration of the longest call.
#[derive(Default)]
pub(super) struct Tally {
    seen: Mutex<BTreeMap<String, usize>>,
    longest: Mutex<Duration>,
}

impl Tally {
    pub(super) fn count(&self, what: &str) {
        self.count_many(what, 1);
    }

    pub(super) fn count_many(&self, what: &str, times: usize) {
        *self
            .seen
            .lock()
            .unwrap()
            .entry(what.to_owned())
            .or_default() += times;
    }

    pub(super) fn count_error(&self, error: &Error) {
        let variant = format!("{error:?}");
        let variant = variant.split([' ', '(']).next().unwrap_or_default();
        match error.sqlstate() {
            Some(code) => self.count(&format!("{variant} {}", code.code())),
            None => self.count(variant),
        }
    }

    /// Called with the duration of each call.
    pub(super) fn took(&self, time: Duration) {
        let mut longest = self.longest.lock().unwrap();
        *longest = time.max(*longest);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = *self.longest.lock().unwrap();
        writeln!(f, "the longest call took {longest:?}")?;
        for (what, count) in &*self.seen.lock().unwrap() {
            writeln!(f, "{count:8} {what}")?;
        }
        Ok(())
    }
}
