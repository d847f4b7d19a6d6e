//! One server.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::{
    availability::{Availability, is_fault_of_server},
    mode::Mode,
};
use crate::{Error, ShardMap, observe::trace};

pub(super) struct Server<S> {
    pub(super) name: String,
    pub(super) store: Arc<S>,
    map: Arc<ShardMap>,
    share: AtomicU32,
    pub(super) availability: Availability,
    /// Whether it has accepted the map.
    has_joined: AtomicBool,
}

impl<S> Server<S> {
    pub(super) fn new(
        name: &str,
        store: Arc<S>,
        share: u32,
        map: Arc<ShardMap>,
        availability: Availability,
    ) -> Server<S> {
        Server {
            name: name.to_owned(),
            store,
            map,
            share: AtomicU32::new(share),
            availability,
            has_joined: AtomicBool::new(false),
        }
    }

    pub(super) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    pub(super) fn set_share(&self, share: u32) {
        self.share.store(share, Ordering::Relaxed);
    }

    pub(super) fn has_joined(&self) -> bool {
        self.has_joined.load(Ordering::Acquire)
    }

    /// Notes how a creation has ended.
    pub(super) fn note(&self, error: Option<&Error>) {
        match error {
            Some(e) if is_fault_of_server(e) => self.leave_out(error),
            _ if self.availability.succeeded() => trace::is_back(&self.name),
            _ => {}
        }
    }

    /// Notes that a creation takes long.
    pub(super) fn is_slow(&self) {
        self.leave_out(None);
    }

    fn leave_out(&self, error: Option<&Error>) {
        if self.availability.failed() {
            trace::left_out(&self.name, error);
        }
    }

    /// Asks the server to accept the map, and notes if it does.
    ///
    /// If it refuses a map that it has accepted before, it keeps a newer one. The sessions of a map stay where they are in
    /// newer ones, so the program goes on with those that it knows.
    pub(super) async fn join<M: Mode<S>>(&self) -> Result<(), Error> {
        let joined = M::join_map(&self.store, &self.name, &self.map).await;
        if joined.is_ok() {
            self.has_joined.store(true, Ordering::Release);
        }
        joined
    }

    /// Returns the store for a call, when the server has accepted the map. Before that, no call is sent to it.
    pub(super) async fn ready<M: Mode<S>>(&self) -> Result<Arc<S>, Error> {
        if !self.has_joined() {
            self.join::<M>().await?;
        }
        Ok(self.store.clone())
    }
}
