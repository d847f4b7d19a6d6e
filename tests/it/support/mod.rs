//! Helpers of the tests: a database, a store of every kind, and proxies that break connections.

#[cfg(feature = "actix-session")]
pub(crate) mod actix;
pub(crate) mod backends;
pub(crate) mod blocking;
pub(crate) mod child;
pub(crate) mod database;
pub(crate) mod http;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod role;
#[cfg(any(
    feature = "actix-session",
    feature = "tower-sessions",
    feature = "tower-sessions-0-14"
))]
pub(crate) mod rows;
pub(crate) mod sharded;
pub(crate) mod switch;
pub(crate) mod tcp_proxy;
pub(crate) mod transactions;
pub(crate) mod verbs;
pub(crate) mod wrapper;

use std::{
    thread,
    time::{Duration, Instant},
};

use session_postgres::{Error, Key};

/// How long a test waits for a condition before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// If a connection has been idle for longer than this, a store tests it before a write.
pub(crate) const IDLE: Duration = Duration::from_millis(500);

/// Waits until the condition is true. Panics if it is still false after [`PATIENCE`].
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "timed out waiting for: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the result of a call on a store with a short time limit.
///
/// A slow machine may exceed the limit, so a call that times out or loses its connection is repeated.
/// Panics on every other error.
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
