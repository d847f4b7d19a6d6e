//! A durable PostgreSQL server with sessions, and stores on it.

#![allow(dead_code, reason = "each benchmark uses a part")]

pub(crate) mod load;
pub(crate) mod ratio;
pub(crate) mod verb;

use std::sync::Arc;

use r2d2_postgres::PostgresConnectionManager;
use session_postgres::{
    Key, MemoryStore, Period, PostgresStore, SessionFields, Store,
    postgres::{Client, NoTls},
    r2d2::Pool,
};
use throwaway_postgres::Server;

/// The number of connections of every pool, and of threads that connect by themselves.
pub(crate) const CONNECTIONS: u32 = 8;

const SESSIONS: usize = 10_000;

const VALUE_BYTES: usize = 200;

/// A prime number of sessions, many pages.
const STRIDE: usize = 7919;

pub(crate) struct Bench {
    server: Server,
    /// The keys of all sessions.
    pub(crate) keys: Arc<Vec<Key>>,
    /// The value of all sessions.
    pub(crate) value: Arc<str>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with_sessions(SESSIONS)
    }

    pub(crate) fn with_sessions(count: usize) -> Bench {
        let server = Server::builder().durable(true).tcp(true).start().unwrap();
        let value = "x".repeat(VALUE_BYTES);
        let store = PostgresStore::connect(server.url()).unwrap();
        store.create_table().unwrap();
        let keys =
            store.generate_many(&vec![SessionFields::new(Some(value.as_str()), None); count]);
        let keys = Arc::new(keys.into_iter().map(Result::unwrap).collect());
        store
            .with_client(|client| client.batch_execute("VACUUM ANALYZE session"))
            .unwrap()
            .unwrap();
        for setting in ["fsync", "synchronous_commit"] {
            let sql = format!("SHOW {setting}");
            let on: String = store
                .with_client(|client| client.query_one(&sql, &[]).unwrap().get(0))
                .unwrap();
            assert_eq!(on, "on", "{setting}");
        }
        Bench {
            server,
            keys,
            value: value.into(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.server.url(), NoTls).unwrap()
    }

    /// Returns a store on one client.
    pub(crate) fn single(&self) -> PostgresStore {
        PostgresStore::from_client(self.client())
    }

    /// Returns a store on a pool with one connection, made by the driver.
    pub(crate) fn pooled(&self) -> PostgresStore {
        Bench::pooled_at(self.server.url())
    }

    /// Returns the same as [`pooled`](Self::pooled), by TCP.
    pub(crate) fn pooled_by_tcp(&self) -> PostgresStore {
        Bench::pooled_at(self.server.tcp_url().unwrap())
    }

    fn pooled_at(url: &str) -> PostgresStore {
        PostgresStore::from_pool(pool_at(url))
    }

    /// Returns a pool with one connection, for stores of several tables.
    pub(crate) fn pool(&self) -> Pool<PostgresConnectionManager<NoTls>> {
        pool_at(self.server.url())
    }

    /// Returns a store on its own pool, whose connections the store makes.
    pub(crate) fn store(&self, connections: u32) -> PostgresStore {
        let builder = PostgresStore::builder().max_connections(connections);
        builder.connect(self.server.url()).unwrap()
    }

    /// Returns a store on its own pool with one connection, which the store makes by TCP.
    pub(crate) fn store_by_tcp(&self) -> PostgresStore {
        let builder = PostgresStore::builder().max_connections(1);
        builder.connect(self.server.tcp_url().unwrap()).unwrap()
    }

    /// Returns a store without a database, with the same sessions.
    pub(crate) fn in_memory(&self) -> MemoryStore {
        let store = MemoryStore::new();
        for key in &*self.keys {
            store.insert(key, Some(&self.value), None).unwrap();
        }
        store
    }

    /// Returns the keys in batches of `count`, in an order that does not repeat soon. Sessions that follow each other are
    /// on different pages of the table, as those of visitors are.
    pub(crate) fn batches<'a>(&'a self, count: usize) -> impl FnMut() -> Vec<&'a Key> + use<'a> {
        let mut next = 0;
        move || {
            let batch = (0..count)
                .map(|i| &self.keys[(next + i * STRIDE) % self.keys.len()])
                .collect();
            next = (next + count * STRIDE + 1) % self.keys.len();
            batch
        }
    }

    /// Returns the arguments of `set_many` for these keys.
    pub(crate) fn sets<'a>(&'a self, keys: &[&'a Key]) -> Vec<(&'a Key, &'a str, Option<Period>)> {
        keys.iter().map(|key| (*key, &*self.value, None)).collect()
    }
}

fn pool_at(url: &str) -> Pool<PostgresConnectionManager<NoTls>> {
    let manager = PostgresConnectionManager::new(url.parse().unwrap(), NoTls);
    let pool = Pool::builder().max_size(1).test_on_check_out(false);
    pool.build(manager).unwrap()
}

/// Returns the key of a caller's call. Callers use the keys in different orders, so that they do not follow
/// each other.
pub(crate) fn key_of(keys: &[Key], caller: usize, call: usize) -> &Key {
    &keys[(caller * 7919 + call * 31) % keys.len()]
}
