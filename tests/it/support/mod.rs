//! What the tests stand on: a database, stores of every kind, and a proxy that breaks connections.

pub(crate) mod backends;
pub(crate) mod blocking;
pub(crate) mod child;
pub(crate) mod database;
pub(crate) mod line;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod role;
pub(crate) mod switch;

use std::{
    thread,
    time::{Duration, Instant},
};

use session_postgres::{Error, Key};

/// A condition that does not come true within this is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// What a call comes to that is to succeed, of a store whose time is short: on a slow machine it may have
/// to be made again.
pub(crate) fn patiently<T>(mut call: impl FnMut() -> Result<T, Error>) -> T {
    let begun = Instant::now();
    loop {
        match call() {
            Err(Error::TimedOut { .. } | Error::Disconnected(_)) if begun.elapsed() < PATIENCE => {}
            outcome => return outcome.unwrap(),
        }
    }
}

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}
