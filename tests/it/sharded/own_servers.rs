//! Servers that tests stop, freeze and kill, one test after the other.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use session_postgres::{Offload, OffloadBuilder, PostgresStore, Sharded, ShardedBuilder};
use throwaway_postgres::Server;
use tokio::runtime::Runtime;

use super::{NAMES, builder};
use crate::support::database::Schema;

/// The time limit of a call to a server that works. It takes much less, also on a slow machine.
const LIMIT: Duration = Duration::from_secs(20);

/// The time limit of a call to server `b`, which tests stop.
const LIMIT_ON_B: Duration = Duration::from_millis(500);

/// How long the creation of a session waits for a server.
pub(super) const ATTEMPT: Duration = Duration::from_millis(300);

/// Four servers, each with a schema of this test. All run again when this is dropped.
pub(super) struct OwnServers {
    pub(super) schemas: Vec<Schema>,
    pub(super) limit_on_b: Duration,
    servers: MutexGuard<'static, Vec<Server>>,
}

impl OwnServers {
    pub(super) fn lock() -> OwnServers {
        static SERVERS: OnceLock<Mutex<Vec<Server>>> = OnceLock::new();
        let servers = SERVERS.get_or_init(|| Mutex::new(start()));
        let servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
        let urls = servers.iter().map(|server| server.tcp_url().unwrap());
        OwnServers {
            schemas: urls.map(Schema::on).collect(),
            limit_on_b: LIMIT_ON_B,
            servers,
        }
    }

    pub(super) fn server(&self, name: &str) -> &Server {
        let place = NAMES.iter().position(|of| *of == name).unwrap();
        &self.servers[place]
    }

    pub(super) fn stop(&self, name: &str) {
        self.server(name).stop().unwrap();
    }

    pub(super) fn start_again(&self, name: &str) {
        self.server(name).start_again().unwrap();
    }

    fn limit(&self, name: &str) -> Duration {
        match name {
            "b" => self.limit_on_b,
            _ => LIMIT,
        }
    }

    /// A store of a server with its own pool.
    pub(super) fn store(&self, name: &str) -> PostgresStore {
        let place = NAMES.iter().position(|of| *of == name).unwrap();
        let schema = &self.schemas[place];
        let store = schema
            .builder()
            .timeout(self.limit(name))
            .max_connections(4);
        let store = store.connect(&*schema.url()).unwrap();
        store.create_table().unwrap();
        store
    }

    pub(super) fn facade(&self, name: &str) -> Offload<PostgresStore> {
        let options = OffloadBuilder::default().timeout(self.limit(name));
        options.build(self.store(name))
    }

    fn stores(&self, servers: usize) -> impl Iterator<Item = PostgresStore> {
        NAMES[..servers].iter().map(|name| self.store(name))
    }

    /// A builder with stores of the first servers, which must run.
    pub(super) fn blocking(&self, map: &str, servers: usize) -> ShardedBuilder<PostgresStore> {
        builder(map, self.stores(servers)).attempt_timeout(ATTEMPT)
    }

    /// A store with facades of the first servers, which must run.
    pub(super) fn tasks(&self, map: &str, servers: usize) -> Sharded<Offload<PostgresStore>> {
        let facades = NAMES[..servers].iter().map(|name| self.facade(name));
        let builder = builder(map, facades).attempt_timeout(ATTEMPT);
        let runtime = Runtime::new().unwrap();
        runtime.block_on(builder.build_async()).unwrap()
    }
}

fn start() -> Vec<Server> {
    thread::scope(|scope| {
        let starting = NAMES.map(|_| {
            scope.spawn(|| {
                // A killed server must keep the sessions that it has confirmed. Of a frozen one, only TCP connections
                // can be closed.
                let server = Server::builder().tcp(true);
                let server = server.setting("synchronous_commit", "on");
                server.start().unwrap()
            })
        });
        starting
            .into_iter()
            .map(|server| server.join().unwrap())
            .collect()
    })
}

impl Drop for OwnServers {
    /// The schemas are dropped after this.
    fn drop(&mut self) {
        for server in &*self.servers {
            // A server that cannot be started fails the next test.
            _ = server.resume();
            _ = server.start_again();
        }
    }
}
