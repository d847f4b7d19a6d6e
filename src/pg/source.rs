//! The source of connections: one client, or any pool.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use postgres::{Client, Statement};
use r2d2::{ManageConnection, Pool, PooledConnection};

use super::row::Timestamp;

/// The store's knowledge of one connection. It ends with the connection.
#[derive(Default)]
pub(super) struct Known {
    pub(super) end: Option<OtherEnd>,
    /// The statements prepared on it, by their text, because stores of different tables can share a pool.
    pub(super) prepared: HashMap<String, Statement>,
    pub(super) last_used: Option<Instant>,
}

/// The other end of a connection.
#[derive(Clone, Copy)]
pub(super) enum OtherEnd {
    /// One and the same server process, as long as the connection lives. Not every role may ask for it.
    Server(Option<Backend>),
    Pooler,
}

/// A server process.
#[derive(Clone, Copy)]
pub(super) struct Backend {
    pub(super) pid: i32,
    /// Another process may get the same number later.
    pub(super) started: Timestamp,
}

/// Lends connections.
pub(super) trait Source: Send + Sync {
    /// Returns a connection for this caller alone, until it is dropped. Waits for one up to `wait`. The error
    /// is why there is none, if that is known.
    fn lease(&self, wait: Duration) -> Result<Box<dyn Lease + '_>, Option<String>>;

    /// The largest number of connections.
    fn connections(&self) -> NonZeroUsize;

    /// Whether a closed connection is replaced by a new one.
    fn renews(&self) -> bool;
}

/// A connection on loan.
pub(super) trait Lease {
    fn client(&mut self) -> &mut Client;

    fn known(&mut self) -> &mut Known;
}

/// One client, which one call uses at a time.
pub(super) struct Single {
    owned: Mutex<Owned>,
    /// Whether it is lent. Unlike for a mutex, the wait for this has a time limit.
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
    fn lease(&self, wait: Duration) -> Result<Box<dyn Lease + '_>, Option<String>> {
        let is_lent = lock(&self.is_lent);
        let (mut is_lent, _) = self
            .returned
            .wait_timeout_while(is_lent, wait, |is_lent| *is_lent)
            .unwrap_or_else(PoisonError::into_inner);
        if *is_lent {
            return Err(Some("another call uses the connection".to_owned()));
        }
        *is_lent = true;
        drop(is_lent);
        Ok(Box::new(Borrowed {
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

/// A panic came from a caller's closure, between statements, so what is locked is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client, lent to one call.
struct Borrowed<'a> {
    owned: MutexGuard<'a, Owned>,
    single: &'a Single,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        *lock(&self.single.is_lent) = false;
        self.single.returned.notify_one();
    }
}

impl Lease for Borrowed<'_> {
    fn client(&mut self) -> &mut Client {
        &mut self.owned.client
    }

    fn known(&mut self) -> &mut Known {
        &mut self.owned.known
    }
}

impl<M: ManageConnection<Connection = Client>> Source for Pool<M> {
    fn lease(&self, wait: Duration) -> Result<Box<dyn Lease + '_>, Option<String>> {
        match self.get_timeout(wait) {
            Ok(connection) => Ok(Box::new(connection)),
            // The pool has told the cause to one of those who wait, and keeps it no longer.
            Err(e) => Err(e
                .to_string()
                .split_once(": ")
                .map(|(_, cause)| cause.to_owned())),
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

    fn known(&mut self) -> &mut Known {
        let extensions = PooledConnection::extensions_mut(self);
        if extensions.get::<Known>().is_none() {
            extensions.insert(Known::default());
        }
        match extensions.get_mut() {
            Some(known) => known,
            None => unreachable!("it was just inserted"),
        }
    }
}
