//! Where connections come from: one client, or anybody's pool.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postgres::{Client, Statement};
use r2d2::{ManageConnection, Pool, PooledConnection};

/// The statements prepared on one connection, by their text: they live and end with it, and stores
/// of different tables can share a pool.
#[derive(Default)]
pub(super) struct Prepared(HashMap<String, Statement>);

impl Prepared {
    fn find(&self, text: &str) -> Option<Statement> {
        self.0.get(text).cloned()
    }

    fn keep(&mut self, text: &str, statement: Statement) {
        self.0.insert(text.to_owned(), statement);
    }
}

/// Lends connections.
pub(super) trait Source: Send + Sync {
    /// A connection for nobody else, until it is dropped. Waits for one, as long as `wait` in a
    /// pool; the error is what the pool says then.
    fn lease(&self, wait: Duration) -> Result<Box<dyn Lease + '_>, String>;

    /// How many connections there are at most.
    fn connections(&self) -> NonZeroUsize;

    /// Whether a broken connection is replaced by a fresh one.
    fn renews(&self) -> bool;
}

/// A connection on loan.
pub(super) trait Lease {
    fn client(&mut self) -> &mut Client;

    /// The statement of this text, if it was prepared on this connection before.
    fn prepared(&self, text: &str) -> Option<Statement>;

    fn keep_prepared(&mut self, text: &str, statement: Statement);

    /// Forgets what was prepared: the server no longer knows it.
    fn forget_prepared(&mut self);
}

/// One client, whose calls take turns.
pub(super) struct Single(Mutex<Owned>);

struct Owned {
    client: Client,
    prepared: Prepared,
}

impl Single {
    pub(super) fn new(client: Client) -> Single {
        Single(Mutex::new(Owned {
            client,
            prepared: Prepared::default(),
        }))
    }
}

impl Source for Single {
    fn lease(&self, _wait: Duration) -> Result<Box<dyn Lease + '_>, String> {
        // A panic came out of a caller's closure, between statements: the client is whole.
        Ok(Box::new(
            self.0.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    fn connections(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn renews(&self) -> bool {
        false
    }
}

impl Lease for MutexGuard<'_, Owned> {
    fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    fn prepared(&self, text: &str) -> Option<Statement> {
        self.prepared.find(text)
    }

    fn keep_prepared(&mut self, text: &str, statement: Statement) {
        self.prepared.keep(text, statement);
    }

    fn forget_prepared(&mut self) {
        self.prepared = Prepared::default();
    }
}

impl<M: ManageConnection<Connection = Client>> Source for Pool<M> {
    fn lease(&self, wait: Duration) -> Result<Box<dyn Lease + '_>, String> {
        match self.get_timeout(wait) {
            Ok(connection) => Ok(Box::new(connection)),
            Err(e) => Err(e.to_string()),
        }
    }

    fn connections(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.max_size() as usize).unwrap_or(NonZeroUsize::MIN)
    }

    fn renews(&self) -> bool {
        true
    }
}

impl<M: ManageConnection<Connection = Client>> Lease for PooledConnection<M> {
    fn client(&mut self) -> &mut Client {
        self
    }

    fn prepared(&self, text: &str) -> Option<Statement> {
        PooledConnection::extensions(self)
            .get::<Prepared>()?
            .find(text)
    }

    fn keep_prepared(&mut self, text: &str, statement: Statement) {
        let extensions = PooledConnection::extensions_mut(self);
        let mut prepared = extensions.remove::<Prepared>().unwrap_or_default();
        prepared.keep(text, statement);
        extensions.insert(prepared);
    }

    fn forget_prepared(&mut self) {
        PooledConnection::extensions_mut(self).remove::<Prepared>();
    }
}
