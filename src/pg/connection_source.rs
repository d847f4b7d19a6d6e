//! The source of connections: a single client, or any `r2d2` pool.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use postgres::{Client, Statement};
use r2d2::{ManageConnection, Pool, PooledConnection};

use super::{mutex::lock, row::Timestamp};

/// A single client or a pool.
pub(super) trait ConnectionSource: Send + Sync {
    /// Returns a connection for the exclusive use of the caller. Waits for it at most `wait`. The error is the
    /// reason why there is none, if it is known.
    fn checkout(&self, wait: Duration) -> Result<Box<dyn CheckedOut + '_>, Option<String>>;

    /// The largest number of connections.
    fn max_connections(&self) -> NonZeroUsize;

    /// Whether a closed connection is replaced by a new one.
    fn replaces_closed(&self) -> bool;

    fn state(&self) -> PoolState;
}

/// The numbers of connections.
pub(super) struct PoolState {
    pub(super) in_use: usize,
    pub(super) idle: usize,
    /// `None` if it is unknown.
    pub(super) opening: Option<usize>,
}

/// A connection that is checked out. Dropping it returns it to its source.
pub(super) trait CheckedOut {
    fn client(&mut self) -> &mut Client;

    fn facts(&mut self) -> &mut ConnectionFacts;
}

/// The store's knowledge of one connection, kept until the connection is closed.
#[derive(Default)]
pub(super) struct ConnectionFacts {
    pub(super) peer: Option<Peer>,
    /// The prepared statements and their texts. Stores of different tables can share a pool. A search in this list is
    /// faster than to hash a text.
    pub(super) prepared: Vec<(Arc<str>, Statement)>,
    pub(super) last_used: Option<Instant>,
}

/// The peer of a connection.
#[derive(Clone, Copy)]
pub(super) enum Peer {
    /// One server process for the life of the connection. Some roles may not ask which one.
    Server(Option<ServerProcess>),
    Pooler,
}

#[derive(Clone, Copy)]
pub(super) struct ServerProcess {
    pub(super) pid: i32,
    /// Distinguishes it from a later process with the same pid.
    pub(super) started: Timestamp,
}

/// One client, which one call uses at a time.
pub(super) struct SingleClient {
    owned: Mutex<OwnedClient>,
    /// Whether the client is checked out. Waiting for this has a time limit, unlike waiting for a mutex.
    is_checked_out: Mutex<bool>,
    returned: Condvar,
}

struct OwnedClient {
    client: Client,
    facts: ConnectionFacts,
}

impl SingleClient {
    pub(super) fn new(client: Client) -> SingleClient {
        SingleClient {
            owned: Mutex::new(OwnedClient {
                client,
                facts: ConnectionFacts::default(),
            }),
            is_checked_out: Mutex::new(false),
            returned: Condvar::new(),
        }
    }
}

impl ConnectionSource for SingleClient {
    fn checkout(&self, wait: Duration) -> Result<Box<dyn CheckedOut + '_>, Option<String>> {
        let is_checked_out = lock(&self.is_checked_out);
        let (mut is_checked_out, _) = self
            .returned
            .wait_timeout_while(is_checked_out, wait, |is_checked_out| *is_checked_out)
            .unwrap_or_else(PoisonError::into_inner);
        if *is_checked_out {
            return Err(Some("another call uses the connection".to_owned()));
        }
        *is_checked_out = true;
        drop(is_checked_out);
        Ok(Box::new(CheckedOutClient {
            owned: lock(&self.owned),
            source: self,
        }))
    }

    fn max_connections(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn replaces_closed(&self) -> bool {
        false
    }

    fn state(&self) -> PoolState {
        let in_use = usize::from(*lock(&self.is_checked_out));
        PoolState {
            in_use,
            idle: 1 - in_use,
            opening: None,
        }
    }
}

/// The client of a [`SingleClient`] while one call uses it.
struct CheckedOutClient<'a> {
    owned: MutexGuard<'a, OwnedClient>,
    source: &'a SingleClient,
}

impl Drop for CheckedOutClient<'_> {
    fn drop(&mut self) {
        *lock(&self.source.is_checked_out) = false;
        self.source.returned.notify_one();
    }
}

impl CheckedOut for CheckedOutClient<'_> {
    fn client(&mut self) -> &mut Client {
        &mut self.owned.client
    }

    fn facts(&mut self) -> &mut ConnectionFacts {
        &mut self.owned.facts
    }
}

impl<M: ManageConnection<Connection = Client>> ConnectionSource for Pool<M> {
    fn checkout(&self, wait: Duration) -> Result<Box<dyn CheckedOut + '_>, Option<String>> {
        match self.get_timeout(wait) {
            Ok(connection) => Ok(Box::new(connection)),
            // The cause follows a colon. The pool reports it to one waiter only.
            Err(e) => Err(e
                .to_string()
                .split_once(": ")
                .map(|(_, cause)| cause.to_owned())),
        }
    }

    fn max_connections(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.max_size() as usize).unwrap_or(NonZeroUsize::MIN)
    }

    fn replaces_closed(&self) -> bool {
        true
    }

    fn state(&self) -> PoolState {
        let state = Pool::state(self);
        let idle = state.idle_connections as usize;
        PoolState {
            in_use: (state.connections as usize).saturating_sub(idle),
            idle,
            opening: None,
        }
    }
}

impl<M: ManageConnection<Connection = Client>> CheckedOut for PooledConnection<M> {
    fn client(&mut self) -> &mut Client {
        self
    }

    fn facts(&mut self) -> &mut ConnectionFacts {
        let extensions = PooledConnection::extensions_mut(self);
        if extensions.get::<ConnectionFacts>().is_none() {
            extensions.insert(ConnectionFacts::default());
        }
        match extensions.get_mut() {
            Some(facts) => facts,
            None => unreachable!("it was just inserted"),
        }
    }
}
