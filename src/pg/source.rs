//! Where connections come from: one client, or anybody's pool.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postgres::{Client, Statement};
use r2d2::{ManageConnection, Pool, PooledConnection};

/// What is known of one connection, and ends with it.
#[derive(Default)]
pub(super) struct Known {
    /// Whether it leads to one and the same server process as long as it lives.
    pub(super) is_direct: Option<bool>,
    /// The statements prepared on it, by their text: stores of different tables can share a pool.
    pub(super) prepared: HashMap<String, Statement>,
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

    /// Nothing, of a connection that is new.
    fn known(&self) -> Option<&Known>;

    fn learn(&mut self, change: &mut dyn FnMut(&mut Known));
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
    known: Known,
}

impl Single {
    pub(super) fn new(client: Client) -> Single {
        Single {
            owned: Mutex::new(Owned {
                client,
                known: Known::default(),
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

    fn known(&self) -> Option<&Known> {
        Some(&self.owned.known)
    }

    fn learn(&mut self, change: &mut dyn FnMut(&mut Known)) {
        change(&mut self.owned.known);
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

    fn known(&self) -> Option<&Known> {
        PooledConnection::extensions(self).get()
    }

    fn learn(&mut self, change: &mut dyn FnMut(&mut Known)) {
        let extensions = PooledConnection::extensions_mut(self);
        let mut known = extensions.remove().unwrap_or_default();
        change(&mut known);
        extensions.insert(known);
    }
}
