//! Whether the map of this program is the newest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::{Sharded, layout::Layout, mode::Mode, server::timed_out};
use crate::{Error, ShardMap};

/// How many times the limit of a check a call waits for its turn.
const WAITS: u32 = 4;

/// The checks of a layout, of which one is made at a time.
#[derive(Default)]
pub(super) struct Checks {
    begun: AtomicU64,
    /// The result of the last one, if it has ended.
    last: Arc<Mutex<Option<Result<(), Error>>>>,
}

impl<S: Send + Sync + 'static> Sharded<S> {
    /// Fails if a server keeps a newer map, or if not more than half of the servers answer.
    ///
    /// Calls that wait for a check share the next one, so that a flood of keys that visitors made up causes few checks.
    pub(super) async fn check_newest<M: Mode<S>>(&self, layout: &Layout<S>) -> Result<(), Error> {
        let checks = &layout.checks;
        let waiting = Instant::now();
        let begun = checks.begun.load(Ordering::SeqCst);
        // A caller that is not polled must not keep others waiting. Without `unconstrained`, a blocking call within a task could
        // wait for the task.
        let lock = tokio::task::unconstrained(checks.last.clone().lock_owned());
        let Some(mut last) = M::within(self.attempt_timeout() * WAITS, lock).await else {
            return Err(timed_out(
                waiting,
                "other calls ask the servers about the map".to_owned(),
            ));
        };
        let is_newer = checks.begun.load(Ordering::SeqCst) > begun;
        match &*last {
            Some(result) if is_newer => result.clone(),
            _ => {
                *last = None;
                checks.begun.fetch_add(1, Ordering::SeqCst);
                let asked = layout.join::<M>(self.attempt_timeout()).await;
                let result = more_than_half(asked.iter().map(|(_, answer)| answer));
                // The deadline of this call is not that of the others.
                *last = (!M::is_too_late()).then(|| result.clone());
                result
            }
        }
    }
}

/// The name of a server, and the older map that it has kept until now.
pub(super) type Joined = (String, Result<Option<ShardMap>, Error>);

impl<S: Send + Sync + 'static> Layout<S> {
    /// Asks all servers at the same time to accept the map.
    pub(super) async fn join<M: Mode<S>>(&self, limit: Duration) -> Vec<Joined> {
        let asked = self.servers.iter().map(|server| async move {
            let begun = Instant::now();
            let joined = M::within(limit, server.join::<M>()).await;
            let late = || format!("server {} has not answered", server.name);
            let answer = joined.unwrap_or_else(|| Err(timed_out(begun, late())));
            (server.name.clone(), answer)
        });
        M::all(asked.collect()).await
    }
}

/// Returns `Ok` if more than half of the servers have accepted a map and none has refused it.
///
/// A newer map is used when more than half of the servers of the older one keep it. So a program with the older one, which
/// asks these servers, meets at least one that refuses.
pub(super) fn more_than_half<'a>(
    answers: impl Iterator<Item = &'a Result<Option<ShardMap>, Error>>,
) -> Result<(), Error> {
    let (mut servers, mut accepted, mut failure) = (0, 0, None);
    for answer in answers {
        servers += 1;
        match answer {
            Ok(_) => accepted += 1,
            Err(refused @ Error::ShardMap { .. }) => return Err(refused.clone()),
            Err(e) => failure = failure.or(Some(e)),
        }
    }
    match failure {
        Some(e) if accepted * 2 <= servers => Err(e.clone()),
        _ => Ok(()),
    }
}
