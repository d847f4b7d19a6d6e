//! A connection manager that a test can direct to another server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use session_postgres::{
    postgres::{self, Client, Config, NoTls},
    r2d2::{ManageConnection, Pool},
};

use super::wait_until;

/// Connects to one server after another, like a host name whose address changes at a failover.
#[derive(Clone)]
pub(crate) struct Switch(Arc<Shared>);

struct Shared {
    servers: Vec<Config>,
    current: AtomicUsize,
    is_held: AtomicBool,
    connected: AtomicUsize,
}

impl Switch {
    pub(crate) fn new(servers: Vec<Config>) -> Switch {
        Switch(Arc::new(Shared {
            servers,
            current: AtomicUsize::new(0),
            is_held: AtomicBool::new(false),
            connected: AtomicUsize::new(0),
        }))
    }

    /// A pool that uses this manager. All its connections are open.
    pub(crate) fn pool(&self, size: u32) -> Pool<Switch> {
        let pool = Pool::builder().max_size(size).test_on_check_out(false);
        pool.build(self.clone()).unwrap()
    }

    /// Delays new connections until [`Switch::to_next`] is called.
    pub(crate) fn hold(&self) {
        self.0.is_held.store(true, Ordering::SeqCst);
    }

    /// Directs new connections to the next server.
    pub(crate) fn to_next(&self) {
        self.0.current.fetch_add(1, Ordering::SeqCst);
        self.0.is_held.store(false, Ordering::SeqCst);
    }

    /// The number of attempts to connect so far.
    pub(crate) fn connected(&self) -> usize {
        self.0.connected.load(Ordering::SeqCst)
    }
}

impl ManageConnection for Switch {
    type Connection = Client;
    type Error = postgres::Error;

    fn connect(&self) -> Result<Client, postgres::Error> {
        self.0.connected.fetch_add(1, Ordering::SeqCst);
        wait_until("new connections to be let through", || {
            !self.0.is_held.load(Ordering::SeqCst)
        });
        self.0.servers[self.0.current.load(Ordering::SeqCst)].connect(NoTls)
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), postgres::Error> {
        client.is_valid(Duration::from_secs(5))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}
