//! Batches that write the same rows at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use session_postgres::{
    Error, Key, Period, PostgresStore, SessionFields, Store,
    postgres::{Client, Config, NoTls, error::SqlState},
    r2d2::Pool,
};

use super::at_once;
use crate::support::{
    database::{Manager, OCAML_TABLE, Schema},
    wait_until,
};

/// A schema in its own database, because the server counts deadlocks for each database.
///
/// If the role may not create a database, the schema is in the database of all tests.
struct OwnDatabase {
    schema: Schema,
    name: Option<String>,
}

impl OwnDatabase {
    fn new() -> OwnDatabase {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("own_{}_{count}", std::process::id());
        let schema = Schema::new();
        // The default template cannot be copied while a client is connected to it. `template0` accepts no
        // clients.
        let create = format!("CREATE DATABASE {name} TEMPLATE template0");
        let name = match schema.client().batch_execute(&create) {
            Ok(()) => Some(name),
            Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => None,
            Err(e) => panic!("{e}"),
        };
        let database = OwnDatabase { schema, name };
        if database.name.is_some() {
            let create = format!("CREATE SCHEMA {}", database.schema.quoted());
            database.client().batch_execute(&create).unwrap();
        }
        database
    }

    fn config(&self) -> Config {
        let mut config = self.schema.config();
        if let Some(name) = &self.name {
            config.dbname(name);
        }
        config
    }

    fn client(&self) -> Client {
        self.config().connect(NoTls).unwrap()
    }

    /// A store whose connections have the schema's name as `application_name`.
    fn store(&self, connections: u32) -> PostgresStore {
        let mut config = self.config();
        config.application_name(self.schema.name());
        let manager = Manager::new(config, NoTls);
        let pool = Pool::builder()
            .max_size(connections)
            .build(manager)
            .unwrap();
        self.schema.builder().from_pool(pool)
    }

    /// The number of deadlocks that the server has found.
    ///
    /// Waits until the store's connections are closed, because the server may count a connection's
    /// deadlocks only when it ends.
    fn deadlocks(&self) -> i64 {
        wait_until("the connections to be closed", || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
            let open = self
                .client()
                .query_one(sql, &[&self.schema.name()])
                .unwrap();
            open.get::<_, i64>(0) == 0
        });
        let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        self.client().query_one(sql, &[]).unwrap().get(0)
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            let _ = self.schema.client().batch_execute(&drop);
        }
    }
}

/// In each round, all threads write the same keys at the same time, every second thread in reverse order.
/// In the first half of the rounds they all call the same verb, in the second half different ones.
fn batches_in_opposite_orders_do_not_deadlock(database: &OwnDatabase) {
    const THREADS: usize = 4;
    const ROUNDS: usize = 60;

    let before = database.deadlocks();
    let store = database.store(THREADS as u32);
    let forwards: Vec<_> = (0..200).map(|_| Key::generate().unwrap()).collect();
    let backwards: Vec<_> = forwards.iter().rev().cloned().collect();
    for round in 0..ROUNDS {
        at_once(THREADS, |thread| {
            let keys = if thread % 2 == 0 {
                &forwards
            } else {
                &backwards
            };
            let keys = keys.iter();
            let is_mixed = round >= ROUNDS / 2;
            let results = match (round + if is_mixed { thread } else { 0 }) % 5 {
                choice @ (0 | 1) => {
                    // First sessions that expire at once, then sessions that replace them.
                    let period = [Period::ZERO, Period::HOUR][choice];
                    let calls = keys.map(|key| (key, Some("lobster"), Some(period)));
                    store.insert_many(&calls.collect::<Vec<_>>())
                }
                2 => {
                    let calls = keys.map(|key| (key, "crab", None));
                    store.set_many(&calls.collect::<Vec<_>>())
                }
                3 => {
                    let calls = keys.map(|key| (key, None));
                    store.touch_many(&calls.collect::<Vec<_>>())
                }
                _ => store.clear_many(&keys.collect::<Vec<_>>()),
            };
            for result in results {
                assert!(
                    matches!(result, Ok(()) | Err(Error::NotFound | Error::KeyExists)),
                    "{result:?}"
                );
            }
        });
    }
    drop(store);
    assert_eq!(database.deadlocks(), before);
}

/// In each round, two threads clear the sessions of an owner while others write them in batches.
#[test]
fn clearing_an_owner_next_to_batches_does_not_deadlock() {
    let database = OwnDatabase::new();
    database.store(1).create_table().unwrap();
    let before = database.deadlocks();
    let store = database.store(5);
    let fields = SessionFields {
        value: Some("lobster"),
        expiry: None,
        owner: Some("crab"),
    };
    for _ in 0..40 {
        let made = store.generate_many(&[fields; 200]);
        let mut keys: Vec<Key> = made.into_iter().map(Result::unwrap).collect();
        // The order of the rows is not that of the keys.
        keys.sort();
        let all: Vec<_> = keys.iter().collect();
        at_once(5, |thread| {
            let results = match thread {
                0 | 1 => vec![store.clear_owned("crab", None).map(drop)],
                2 => store.clear_many(&all),
                3 => {
                    let calls = keys.iter().map(|key| (key, "crab", None));
                    store.set_many(&calls.collect::<Vec<_>>())
                }
                _ => keys.iter().map(|key| store.rotate(key).map(drop)).collect(),
            };
            for result in results {
                assert!(
                    matches!(result, Ok(()) | Err(Error::NotFound)),
                    "{result:?}"
                );
            }
        });
        assert!(store.owned("crab").unwrap().is_empty());
    }
    drop(store);
    assert_eq!(database.deadlocks(), before);
}

#[test]
fn batches_in_opposite_orders_do_not_deadlock_on_the_recommended_table() {
    let database = OwnDatabase::new();
    database.store(1).create_table().unwrap();
    batches_in_opposite_orders_do_not_deadlock(&database);
}

#[test]
fn batches_in_opposite_orders_do_not_deadlock_on_the_legacy_table() {
    let database = OwnDatabase::new();
    database.client().batch_execute(OCAML_TABLE).unwrap();
    batches_in_opposite_orders_do_not_deadlock(&database);
}
