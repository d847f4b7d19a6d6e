//! Waiting with a time limit.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Error;

/// The time limit of each step: starting or stopping a program, or a query.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// Waits until the condition holds. `what` names the step in the error.
pub(crate) fn wait_until(
    what: &str,
    mut condition: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > LIMIT {
            return Err(Error::new(too_long(what)));
        }
        sleep(PAUSE);
    }
    Ok(())
}

pub(crate) fn too_long(what: &str) -> String {
    format!("{what} took more than {} seconds", LIMIT.as_secs())
}
