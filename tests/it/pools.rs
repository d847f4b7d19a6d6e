//! Stores on a pool or client of the user.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use session_postgres::{
    Error, PostgresStore, SessionFields, Store,
    postgres::{self, Client, Config, NoTls},
    r2d2::{ManageConnection, Pool},
};

use crate::support::{
    PATIENCE,
    database::{Schema, url},
    patiently,
};

/// A connection manager of a user. It counts its connections.
struct Counting {
    config: Config,
    connected: Arc<AtomicUsize>,
}

impl ManageConnection for Counting {
    type Connection = Client;
    type Error = postgres::Error;

    fn connect(&self) -> Result<Client, postgres::Error> {
        self.connected.fetch_add(1, Ordering::SeqCst);
        self.config.connect(NoTls)
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), postgres::Error> {
        client.is_valid(Duration::from_secs(5))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}

#[test]
fn a_pool_with_any_manager_works_and_the_user_can_share_it() {
    let schema = Schema::new();
    let connected = Arc::new(AtomicUsize::new(0));
    let manager = Counting {
        config: schema.config(),
        connected: connected.clone(),
    };
    let pool = Pool::builder().max_size(2).build(manager).unwrap();
    let store = PostgresStore::from_pool(pool.clone());
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    let value: String = pool
        .get()
        .unwrap()
        .query_one(
            "SELECT session_data FROM session WHERE session_key = $1",
            &[&key.as_str()],
        )
        .unwrap()
        .get(0);
    assert_eq!(value, "lobster");
    assert_eq!(connected.load(Ordering::SeqCst), 2);
}

#[test]
fn a_call_times_out_without_an_effect_if_every_connection_is_in_use() {
    let schema = Schema::new();
    schema.store();
    let pool = schema.pool(1);
    let store = schema
        .builder()
        .timeout(Duration::from_millis(50))
        .from_pool(pool.clone());
    let taken = pool.get().unwrap();
    let error = store.generate(Some("lobster"), None).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    drop(taken);
    assert_eq!(schema.count("true"), 0);
    patiently(|| store.generate(Some("lobster"), None));
}

#[test]
fn a_call_waits_until_a_connection_is_returned() {
    let schema = Schema::new();
    schema.store();
    let pool = schema.pool(1);
    let store = schema.builder().from_pool(pool.clone());
    let taken = pool.get().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| store.generate(None, None));
        // Before this, the call has no connection to run on, however the threads are scheduled.
        drop(taken);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(schema.count("true"), 1);
}

#[test]
fn connections_are_opened_when_calls_need_them() {
    let schema = Schema::new();
    let mut config = schema.config();
    config.application_name(schema.name());
    let store = schema
        .builder()
        .max_connections(3)
        .connect_with(config, NoTls)
        .unwrap();
    store.create_table().unwrap();
    let connections = || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        schema
            .client()
            .query_one(sql, &[&schema.name()])
            .unwrap()
            .get(0)
    };
    assert!(connections() <= 2);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..20 {
                    store.generate(None, None).unwrap();
                }
            });
        }
    });
    assert!((1..=3).contains(&connections()));
    assert_eq!(schema.count("true"), 240);
}

#[test]
fn connect_takes_a_plain_connection_string() {
    let schema = Schema::new();
    let store = schema.builder().connect(url()).unwrap();
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
}

#[test]
fn with_client_runs_code_on_a_connection_of_the_store() {
    let schema = Schema::new();
    for store in [
        schema.store(),
        schema.builder().from_client(schema.client()),
    ] {
        store.generate(Some("lobster"), None).unwrap();
        let count: i64 = store
            .with_client(|client| client.query_one("SELECT count(*) FROM session", &[]))
            .unwrap()
            .unwrap()
            .get(0);
        assert!(count > 0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            store.with_client(|_| panic!("in the middle"))
        }));
        assert!(panicked.is_err());
        store.generate(None, None).unwrap();
    }
}

#[test]
fn a_pooled_store_needs_only_one_connection_at_a_time() {
    let schema = Schema::new();
    let store = schema.builder().timeout(PATIENCE).from_pool(schema.pool(1));
    store.create_table().unwrap();
    store.check().unwrap();
    let key = store.generate(None, None).unwrap();
    store.update(&key, None, &mut |_| Some("x".into())).unwrap();
    store.rotate(&key).unwrap();
    store
        .generate_many(&[SessionFields::new(None, None); 5000])
        .into_iter()
        .for_each(|key| drop(key.unwrap()));
}

#[test]
fn the_timeout_may_be_unlimited() {
    let schema = Schema::new();
    let store = schema
        .builder()
        .timeout(Duration::MAX)
        .from_pool(schema.pool(1));
    store.create_table().unwrap();
    store.generate(None, None).unwrap();
}

#[test]
fn a_transaction_that_a_panic_leaves_open_is_rolled_back() {
    let schema = Schema::new();
    schema.store();
    let pool = schema.pool(1);
    let store = schema.builder().from_pool(pool.clone());
    let begin = || {
        store.with_client(|client| {
            client.batch_execute("BEGIN").unwrap();
            panic!("on purpose");
        })
    };
    assert!(panic::catch_unwind(AssertUnwindSafe(begin)).is_err());
    let key = store.generate(Some("lobster"), None).unwrap();
    // Another connection sees the session, so it was committed.
    assert_eq!(schema.store().get(&key).unwrap().value, "lobster");
}

#[test]
fn stores_with_different_tables_can_share_a_pool() {
    let schema = Schema::new();
    let pool = schema.pool(1);
    let first = schema
        .builder()
        .timeout(Duration::from_secs(60))
        .from_pool(pool.clone());
    let second = schema.builder().table("other").unwrap().from_pool(pool);
    first.create_table().unwrap();
    second.create_table().unwrap();
    let key = first.generate(Some("first"), None).unwrap();
    second.insert(&key, Some("second"), None).unwrap();
    assert_eq!(first.get(&key).unwrap().value, "first");
    assert_eq!(second.get(&key).unwrap().value, "second");
}
