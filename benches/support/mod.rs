//! What the benchmarks stand on: a durable server, stores full of sessions, and callers.

#![allow(dead_code, reason = "each benchmark uses a part")]

pub(crate) mod load;
pub(crate) mod ratio;
pub(crate) mod verbs;

use std::sync::Arc;

use r2d2_postgres::PostgresConnectionManager;
use session_postgres::{
    Key, MemoryStore, PostgresStore, Store,
    postgres::{Client, NoTls, Statement},
    r2d2::Pool,
};
use throwaway_postgres::Server;

/// How many sessions the table holds.
const SESSIONS: usize = 10_000;

/// The size of a session's value, in bytes.
const VALUE_BYTES: usize = 200;

/// A server that keeps what it commits (fsync and synchronous_commit are on), and its sessions.
pub(crate) struct Bench {
    server: Server,
    pub(crate) keys: Arc<Vec<Key>>,
    pub(crate) value: Arc<str>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with_sessions(SESSIONS)
    }

    pub(crate) fn with_sessions(count: usize) -> Bench {
        let server = Server::builder().durable(true).start().unwrap();
        let value = "x".repeat(VALUE_BYTES);
        let store = PostgresStore::connect(server.url()).unwrap();
        store.create_table().unwrap();
        let keys = store.generate_many(&vec![(Some(value.as_str()), None); count]);
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

    pub(crate) fn single(&self) -> PostgresStore {
        PostgresStore::from_client(self.client())
    }

    /// A store on a pool of its own, of so many connections.
    pub(crate) fn store(&self, connections: u32) -> PostgresStore {
        PostgresStore::builder()
            .max_connections(connections)
            .connect(self.server.url())
            .unwrap()
    }

    /// A store without a database, with the same sessions.
    pub(crate) fn in_memory(&self) -> MemoryStore {
        let store = MemoryStore::new();
        for key in &*self.keys {
            store.insert(key, Some(&self.value), None).unwrap();
        }
        store
    }

    /// A store on a pool of one connection.
    pub(crate) fn pooled(&self) -> PostgresStore {
        let manager = PostgresConnectionManager::new(self.server.url().parse().unwrap(), NoTls);
        let pool = Pool::builder()
            .max_size(1)
            .test_on_check_out(false)
            .build(manager)
            .unwrap();
        PostgresStore::from_pool(pool)
    }

    /// Goes through the keys in an order that does not repeat soon, `count` at a time.
    pub(crate) fn batches<'a>(&'a self, count: usize) -> impl FnMut() -> Vec<&'a Key> + use<'a> {
        let mut next = 0;
        move || {
            let batch = (0..count)
                .map(|i| &self.keys[(next + i * 7) % self.keys.len()])
                .collect();
            next = (next + count * 7 + 1) % self.keys.len();
            batch
        }
    }

    /// The arguments of `set_many` for these keys.
    pub(crate) fn sets<'a>(
        &'a self,
        keys: &[&'a Key],
    ) -> Vec<(&'a Key, &'a str, Option<session_postgres::Period>)> {
        keys.iter().map(|key| (*key, &*self.value, None)).collect()
    }
}

/// Sets many sessions in one statement that nothing else is taken care of in.
pub(crate) fn prepare_plain_sets(client: &mut Client) -> Statement {
    client
        .prepare(
            "UPDATE session SET session_data = value, expire_date = now() + interval '7 days' \
             FROM unnest($1::text[], $2::text[]) AS sets (key, value) \
             WHERE session_key = key::bpchar AND expire_date > now()",
        )
        .unwrap()
}

pub(crate) fn set_plainly(client: &mut Client, statement: &Statement, sets: &[(&Key, &str)]) {
    let keys: Vec<_> = sets.iter().map(|(key, _)| key.as_str()).collect();
    let values: Vec<_> = sets.iter().map(|(_, value)| *value).collect();
    let changed = client.execute(statement, &[&keys, &values]).unwrap();
    assert_eq!(changed, sets.len() as u64);
}

/// What a caller would write by hand for `get`.
pub(crate) fn prepare_get(client: &mut Client) -> Statement {
    client
        .prepare(
            "SELECT session_data, expire_date, now() FROM session \
             WHERE session_key = $1 AND expire_date > now()",
        )
        .unwrap()
}

pub(crate) fn get_by_hand(client: &mut Client, statement: &Statement, key: &Key) {
    let row = client
        .query_opt(statement, &[&key.as_str()])
        .unwrap()
        .unwrap();
    std::hint::black_box(row.get::<_, String>(0));
}
