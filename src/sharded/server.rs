//! One server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use super::{
    availability::{Availability, is_fault_of_server},
    mode::Mode,
};
use crate::{Error, ShardMap, observe::trace};

pub(super) struct Server<S> {
    pub(super) name: String,
    pub(super) store: Arc<S>,
    pub(super) standing: Arc<Standing>,
    map: Arc<ShardMap>,
    /// Whether it has accepted the map.
    has_joined: AtomicBool,
}

/// How a server takes part in the creation of sessions. It stays the same if the map changes.
pub(super) struct Standing {
    share: AtomicU32,
    availability: Availability,
}

impl Standing {
    pub(super) fn new(share: u32) -> Standing {
        Standing {
            share: AtomicU32::new(share),
            availability: Availability::default(),
        }
    }

    pub(super) fn set_share(&self, share: u32) {
        self.share.store(share, Ordering::Relaxed);
        self.availability.succeeded();
    }
}

impl<S> Server<S> {
    pub(super) fn new(
        name: &str,
        store: Arc<S>,
        standing: Arc<Standing>,
        map: Arc<ShardMap>,
    ) -> Server<S> {
        Server {
            name: name.to_owned(),
            store,
            standing,
            map,
            has_joined: AtomicBool::new(false),
        }
    }

    pub(super) fn share(&self) -> u32 {
        self.standing.share.load(Ordering::Relaxed)
    }

    pub(super) fn has_joined(&self) -> bool {
        self.has_joined.load(Ordering::Acquire)
    }

    /// Whether the server has not failed lately.
    pub(super) fn is_good(&self) -> bool {
        self.standing.availability.is_good()
    }

    /// Notes that a session is about to be created.
    pub(super) fn try_one(&self) {
        self.standing.availability.try_one();
    }

    /// Notes that a session was created.
    pub(super) fn succeeded(&self) {
        if self.standing.availability.succeeded() {
            trace::is_back(&self.name);
        }
    }

    /// Notes the result of a creation.
    pub(super) fn note<T>(&self, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.succeeded(),
            Err(e) => self.note_fault(e),
        }
    }

    /// Notes the error of a call, if it is a fault of the server.
    pub(super) fn note_fault(&self, error: &Error) {
        if is_fault_of_server(error) && self.standing.availability.failed() {
            trace::left_out(&self.name, error);
        }
    }

    /// Asks the server to accept the map, and notes if it does. Returns the older map that it has kept until now.
    ///
    /// If it refuses a map that it has accepted before, it keeps a newer one. The sessions of a map stay where they are in
    /// newer ones, so the program goes on with those that it knows.
    pub(super) async fn join<M: Mode<S>>(&self) -> Result<Option<ShardMap>, Error> {
        let joined = M::join_map(&self.store, &self.name, &self.map).await;
        if joined.is_ok() {
            self.has_joined.store(true, Ordering::Release);
        }
        joined
    }

    /// Returns the store for a call, when the server has accepted the map. Before that, no call is sent to it.
    pub(super) async fn ready<M: Mode<S>>(&self) -> Result<Arc<S>, Error> {
        if !self.has_joined() {
            let begun = Instant::now();
            // The call was not sent, so its effect is known.
            self.join::<M>().await.map_err(|e| match e {
                Error::Disconnected(_) | Error::StillRunning { .. } => timed_out(
                    begun,
                    format!("server {} has not accepted the map: {e}", self.name),
                ),
                other => other,
            })?;
        }
        Ok(self.store.clone())
    }
}

pub(super) fn timed_out(begun: Instant, reason: String) -> Error {
    Error::TimedOut {
        waited: begun.elapsed(),
        reason,
    }
}
