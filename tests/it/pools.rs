//! Connections that belong to somebody else.

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
    Error, PostgresStore, Store,
    postgres::{self, Client, Config, NoTls},
    r2d2::{ManageConnection, Pool},
};

use crate::support::{
    PATIENCE,
    database::{Schema, url},
    patiently,
};

/// A manager of somebody's own, who counts what is connected.
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
fn anybodys_pool_works_and_the_user_goes_on_using_it() {
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
fn a_call_that_finds_every_connection_lent_times_out_and_did_nothing() {
    let schema = Schema::new();
    schema.store();
    let pool = schema.pool(1);
    let store = schema
        .builder()
        .timeout(Duration::from_millis(50))
        .from_pool(pool.clone());
    let lent = pool.get().unwrap();
    let error = store.generate(Some("lobster"), None).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    drop(lent);
    assert_eq!(schema.count("true"), 0);
    patiently(|| store.generate(Some("lobster"), None));
}

#[test]
fn a_call_waits_for_a_connection_that_comes_back() {
    let schema = Schema::new();
    schema.store();
    let pool = schema.pool(1);
    let store = schema.builder().from_pool(pool.clone());
    let lent = pool.get().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| store.generate(None, None));
        // However this is timed, the call has nothing to run on before.
        drop(lent);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(schema.count("true"), 1);
}

#[test]
fn connecting_opens_connections_as_calls_need_them() {
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
fn connecting_takes_a_plain_connection_string() {
    let schema = Schema::new();
    let store = schema.builder().connect(url()).unwrap();
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
}

#[test]
fn the_users_own_code_runs_on_a_connection_of_the_store() {
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
fn a_pooled_store_needs_no_more_than_one_connection_at_a_time() {
    let schema = Schema::new();
    let store = schema.builder().timeout(PATIENCE).from_pool(schema.pool(1));
    store.create_table().unwrap();
    store.check().unwrap();
    let key = store.generate(None, None).unwrap();
    store.update(&key, None, &mut |_| Some("x".into())).unwrap();
    store.rotate(&key).unwrap();
    store
        .generate_many(&[(None, None); 5000])
        .into_iter()
        .for_each(|key| drop(key.unwrap()));
}

#[test]
fn a_timeout_may_be_without_end() {
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
    // Another connection sees it.
    assert_eq!(schema.store().get(&key).unwrap().value, "lobster");
}
