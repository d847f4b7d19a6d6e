//! Whether the map of this program is the newest.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Sharded, layout::Layout, mode::Mode};
use crate::Error;

/// How long the result of a check is used. So a flood of keys that visitors made up causes few checks.
const VALID: Duration = Duration::from_secs(1);

/// After this time, all programs notice a change of the map. That is the time for which a result is used, and twice the time
/// limit of a check.
pub(super) const KNOWN_AFTER: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct LastCheck(Mutex<Option<(Instant, Result<(), Error>)>>);

impl LastCheck {
    /// Returns the result of the last check. If it is old, returns it to all callers but one, which makes the next check.
    fn result(&self) -> Option<Result<(), Error>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, result) = last.as_mut()?;
        if at.elapsed() < VALID {
            return Some(result.clone());
        }
        *at = Instant::now();
        None
    }

    fn set(&self, result: &Result<(), Error>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), result.clone()));
    }
}

impl<S: Send + Sync + 'static> Sharded<S> {
    /// Fails if a server keeps a newer map, or if less than half of the servers answer.
    pub(super) async fn check_newest<M: Mode<S>>(&self, layout: &Layout<S>) -> Result<(), Error> {
        if let Some(result) = layout.last_check.result() {
            return result;
        }
        let result = more_than_half(layout.join::<M>(self.attempt_timeout().min(VALID)).await);
        layout.last_check.set(&result);
        result
    }
}

impl<S: Send + Sync + 'static> Layout<S> {
    /// Asks all servers at the same time to accept the map.
    pub(super) async fn join<M: Mode<S>>(&self, limit: Duration) -> Vec<Result<(), Error>> {
        let asked = self.servers.iter().map(|server| async move {
            let begun = Instant::now();
            let joined = M::within(limit, server.join::<M>()).await;
            joined.unwrap_or_else(|| {
                Err(Error::TimedOut {
                    waited: begun.elapsed(),
                    reason: format!("server {} has not answered", server.name),
                })
            })
        });
        M::all(asked.collect()).await
    }
}

/// Returns `Ok` if more than half of the servers have accepted a map and none has refused it.
///
/// A new map is used when more than half of the servers keep it. So one of any other half knows about it.
pub(super) fn more_than_half(answers: Vec<Result<(), Error>>) -> Result<(), Error> {
    let servers = answers.len();
    let (accepted, failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let mut errors = failed.into_iter().filter_map(Result::err).peekable();
    let first = errors.peek().cloned();
    let refused = errors.find(|e| matches!(e, Error::ShardMap { .. }));
    match (refused, first) {
        (Some(refused), _) => Err(refused),
        (None, Some(first)) if accepted.len() * 2 <= servers => Err(first),
        _ => Ok(()),
    }
}
