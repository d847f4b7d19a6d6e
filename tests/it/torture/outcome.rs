//! What a call's result says of its effect, and how often each was seen.

use std::{collections::BTreeMap, fmt, sync::Mutex, time::Duration};

use session_postgres::Error;

use crate::concurrent::checker::Answer;

/// What a result says of the effect of its call.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// It took effect, and this is the answer.
    Known(T),
    /// It had no effect and will have none.
    NoEffect,
    /// It took effect once, or will, or never.
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

/// The one place that says what an error means.
pub(super) fn outcome(error: &Error) -> Outcome<Answer> {
    match error {
        Error::NotFound => Outcome::Known(Answer::NotFound),
        Error::NotSet => Outcome::Known(Answer::NotSet),
        Error::KeyExists => Outcome::Known(Answer::KeyExists),
        Error::Disconnected(_) => Outcome::Unknown,
        // Of a facade over a store that cannot cancel.
        other if other.to_string().contains("may still run") => Outcome::Unknown,
        _ => Outcome::NoEffect,
    }
}

/// How often each result was seen.
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

    /// A call took so long.
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
