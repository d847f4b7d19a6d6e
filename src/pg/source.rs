//! Where connections come from: one client, or anybody's pool.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
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
    /// A connection for nobody else, until it is dropped. Waits for one as long as `wait`; the error is
    /// what it waited for.
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
pub(super) struct Single {
    owned: Mutex<Owned>,
    /// Whether it is lent: unlike for a mutex, one can wait for that with a timeout.
    is_lent: Mutex<bool>,
    returned: Condvar,
}

struct Owned {
    client: Client,
    prepared: Prepared,
}

impl Single {
    pub(super) fn new(client: Client) -> Single {
        Single {
            owned: Mutex::new(Owned {
                client,
                prepared: Prepared::default(),
            }),
            is_lent: Mutex::new(false),
            returned: Condvar::new(),
        }
    }
}

impl Source for Single {
    fn lease(&self, wait: Duration) -> Result<Box<dyn Lease + '_>, String> {
        let is_lent = lock(&self.is_lent);
        let (mut is_lent, _) = self
            .returned
            .wait_timeout_while(is_lent, wait, |is_lent| *is_lent)
            .unwrap_or_else(PoisonError::into_inner);
        if *is_lent {
            return Err("another call has the connection".to_owned());
        }
        *is_lent = true;
        drop(is_lent);
        Ok(Box::new(Turn {
            owned: lock(&self.owned),
            single: self,
        }))
    }

    fn connections(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn renews(&self) -> bool {
        false
    }
}

/// A panic came out of a caller's closure, between statements: what is locked is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client, lent to one call.
struct Turn<'a> {
    owned: MutexGuard<'a, Owned>,
    single: &'a Single,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.single.is_lent) = false;
        self.single.returned.notify_one();
    }
}

impl Lease for Turn<'_> {
    fn client(&mut self) -> &mut Client {
        &mut self.owned.client
    }

    fn prepared(&self, text: &str) -> Option<Statement> {
        self.owned.prepared.find(text)
    }

    fn keep_prepared(&mut self, text: &str, statement: Statement) {
        self.owned.prepared.keep(text, statement);
    }

    fn forget_prepared(&mut self) {
        self.owned.prepared = Prepared::default();
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
