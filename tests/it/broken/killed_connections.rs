//! Connections whose server process is killed.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use session_postgres::{Error, Key, PostgresStore, Store, postgres::NoTls};

use super::{Verb, kill_backends, named_pool};
use crate::support::{IDLE, database::Schema, tcp_proxy::TcpProxy, wait_until};

/// Runs `call` at the same time in as many threads as the store has connections.
fn on_all(store: &PostgresStore, call: impl Fn() + Sync) {
    let threads = store.parallelism().get();
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                call();
            });
        }
    });
}

#[test]
fn no_call_fails_if_the_server_kills_every_connection() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(named_pool(&schema, 8));
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    for round in 0..3 {
        let barrier = Barrier::new(8);
        on_all(&store, || {
            // Each thread has its own connection.
            store.with_client(|_| barrier.wait()).unwrap();
        });
        let killed = kill_backends(&schema);
        assert_eq!(killed, 8, "round {round}");
        assert_eq!(store.get(&key).unwrap().value, "lobster");
        store.set(&key, "lobster", None).unwrap();
    }
}

#[test]
fn connections_that_broke_together_fail_at_most_one_write() {
    let schema = Schema::new();
    schema.store();
    // Without prepared statements, the write is the first request on each connection.
    let builder = schema.builder().prepared(false);
    let store = builder.from_pool(named_pool(&schema, 8));
    let barrier = Barrier::new(8);
    on_all(&store, || {
        // Each thread has its own connection, and has just used it.
        let key = store.generate(Some("lobster"), None).unwrap();
        let edit = &mut |_: Option<&str>| {
            barrier.wait();
            None
        };
        store.update(&key, None, edit).unwrap();
    });
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(kill_backends(&schema), 8);
    // This call notices that connections have broken.
    store.get(&key).unwrap();
    on_all(&store, || store.set(&key, "crab", None).unwrap());
}

#[test]
fn a_connection_that_broke_while_it_was_idle_fails_no_write() {
    type Expected = fn(&Result<(), Error>) -> bool;
    let writes: [(Verb, Expected); 4] = [
        (|store, key| store.set(key, "crab", None), Result::is_ok),
        (
            |store, _| store.set(&Key::generate()?, "crab", None),
            |result| matches!(result, Err(Error::NotFound)),
        ),
        (
            |store, key| store.insert(key, None, None),
            |result| matches!(result, Err(Error::KeyExists)),
        ),
        (|store, key| store.clear(key), Result::is_ok),
    ];
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    // Through TCP: on a Unix socket, the client would notice at once that the connection was closed.
    let proxy = TcpProxy::to(&schema.config());
    let mut config = proxy.config(&schema.config());
    config.application_name(schema.name());
    let store = schema
        .builder()
        .max_connections(1)
        .connect_with(config, NoTls)
        .unwrap();
    for (write, is_expected) in writes {
        store.get(&key).unwrap();
        let last_used = Instant::now();
        assert!(kill_backends(&schema) > 0);
        wait_until("the connection to be idle for a while", || {
            last_used.elapsed() > IDLE
        });
        let result = write(&store, &key);
        assert!(is_expected(&result), "{result:?}");
    }
}

#[test]
fn with_client_gets_a_working_connection() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(named_pool(&schema, 4));
    store.create_table().unwrap();
    kill_backends(&schema);
    let ran = AtomicBool::new(false);
    let one: i32 = store
        .with_client(|client| {
            assert!(!ran.swap(true, Ordering::Relaxed), "the closure ran twice");
            client.query_one("SELECT 1", &[]).unwrap().get(0)
        })
        .unwrap();
    assert_eq!(one, 1);
}

/// A store on a single client whose server process was killed, and the key of a session.
fn on_killed_client() -> (Schema, PostgresStore, Key) {
    let schema = Schema::new();
    let mut config = schema.config();
    config.application_name(schema.name());
    let store = schema.builder().from_client(config.connect(NoTls).unwrap());
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(kill_backends(&schema), 1);
    (schema, store, key)
}

#[test]
fn every_call_on_a_broken_single_client_fails_without_a_panic() {
    let (_schema, store, key) = on_killed_client();
    for _ in 0..3 {
        let edit = &mut |_: Option<&str>| None;
        let results = [
            store.get(&key).map(drop),
            store
                .get_many(&[&key, &Key::generate().unwrap()])
                .remove(1)
                .map(drop),
            store.set(&key, "crab", None),
            store.insert(&key, None, None),
            store.rotate(&key).map(drop),
            store.update(&key, None, edit).map(drop),
            store.generate(None, None).map(drop),
            store.with_client(|_| ()),
        ];
        for (call, result) in results.into_iter().enumerate() {
            assert!(
                matches!(result, Err(Error::Database(_))),
                "{call}: {result:?}"
            );
        }
    }
}

#[test]
fn only_the_first_write_on_a_broken_single_client_can_have_an_unknown_outcome() {
    let (_schema, store, key) = on_killed_client();
    let first = store.set(&key, "crab", None);
    let is_known = matches!(first, Err(Error::Disconnected(_) | Error::Database(_)));
    assert!(is_known, "{first:?}");
    for _ in 0..3 {
        let result = store.set(&key, "crab", None);
        assert!(matches!(result, Err(Error::Database(_))), "{result:?}");
    }
}
