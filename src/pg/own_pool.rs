//! The pool of a store that has connected itself. It counts the connections that are being opened.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use postgres::Client;
use r2d2::{Builder, ManageConnection, Pool};

use super::connection_source::{CheckedOut, ConnectionSource, PoolState};
use crate::observe::{Gauge, STORE};

pub(super) struct OwnPool<M: ManageConnection<Connection = Client>> {
    pool: Pool<Opening<M>>,
    opening: Arc<Gauge>,
}

impl<M: ManageConnection<Connection = Client>> OwnPool<M> {
    /// Opens no connection unless the builder has a minimum of idle ones.
    pub(super) fn new(options: Builder<Opening<M>>, manager: M) -> OwnPool<M> {
        let opening = Gauge::labelled(STORE.connections, Some(("state", "opening")));
        let opening = Arc::new(opening);
        let manager = Opening {
            manager,
            opening: opening.clone(),
        };
        OwnPool {
            pool: options.build_unchecked(manager),
            opening,
        }
    }
}

impl<M: ManageConnection<Connection = Client>> ConnectionSource for OwnPool<M> {
    fn checkout(&self, wait: Duration) -> Result<Box<dyn CheckedOut + '_>, Option<String>> {
        self.pool.checkout(wait)
    }

    fn max_connections(&self) -> NonZeroUsize {
        self.pool.max_connections()
    }

    fn replaces_closed(&self) -> bool {
        self.pool.replaces_closed()
    }

    fn state(&self) -> PoolState {
        PoolState {
            opening: Some(self.opening.get()),
            ..ConnectionSource::state(&self.pool)
        }
    }
}

/// A manager of connections that counts those it opens.
pub(super) struct Opening<M> {
    manager: M,
    opening: Arc<Gauge>,
}

impl<M: ManageConnection<Connection = Client>> ManageConnection for Opening<M> {
    type Connection = Client;
    type Error = M::Error;

    fn connect(&self) -> Result<Client, M::Error> {
        self.opening.add(1);
        // A manager of a program may panic, and r2d2 continues after that.
        let _opening = Decrement(&self.opening);
        self.manager.connect()
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), M::Error> {
        self.manager.is_valid(client)
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        self.manager.has_broken(client)
    }
}

struct Decrement<'a>(&'a Gauge);

impl Drop for Decrement<'_> {
    fn drop(&mut self) {
        self.0.subtract(1);
    }
}
