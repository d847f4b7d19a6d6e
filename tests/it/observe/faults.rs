//! Faults are counted: broken and refused connections, retries, cancel requests, failed pruning.

use std::{net::TcpListener, sync::mpsc, thread, time::Duration};

use session_postgres::{
    ConnectOptions, Error, ErrorKind, Key, Period, PostgresStore, Pruner, Store,
    postgres::{Config, NoTls},
    r2d2::Pool,
};

use super::{kill_connection, store_on_one};
use crate::support::{
    database::{Manager, Schema, lock},
    wait_until,
};

/// The timeout of a store whose calls time out.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_killed_connection_is_counted_and_the_call_that_meets_it_is_a_retry() {
    let schema = Schema::new();
    let store = store_on_one(&schema, schema.builder());
    let key = store.generate(Some("lobster"), None).unwrap();
    let before = store.stats();
    assert_eq!((before.broken_connections, before.retries), (0, 0));
    assert_eq!(before.new_connections, 1);

    kill_connection(&schema, &store);
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    let after = store.stats();
    assert_eq!((after.broken_connections, after.retries), (1, 1));
    assert_eq!(after.new_connections, 2);
    assert_eq!(after.calls.errors(), 0);

    kill_connection(&schema, &store);
    store.with_client(|_| ()).unwrap();
    let after = store.stats();
    assert_eq!((after.broken_connections, after.retries), (2, 2));
    assert_eq!(after.new_connections, 3);
}

#[test]
fn a_connection_that_is_killed_while_the_program_uses_it_is_counted() {
    let schema = Schema::new();
    let store = store_on_one(&schema, schema.builder());
    let die = "SELECT pg_terminate_backend(pg_backend_pid())";
    let died = store.with_client(|client| client.batch_execute(die));
    assert!(died.unwrap().is_err());
    let died = store.transaction(|tx| Ok::<_, Error>(tx.batch_execute(die)?));
    assert!(died.is_err());
    assert_eq!(store.stats().broken_connections, 2);
    store.with_client(|_| ()).unwrap();
    assert_eq!(store.stats().broken_connections, 2);
}

#[test]
fn refused_connections_are_counted() {
    let schema = Schema::new();
    // The port is free again when the listener is dropped.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut nowhere = Config::new();
    nowhere.host("127.0.0.1").port(port).user("web");
    let pool = Pool::builder()
        .max_size(1)
        .connection_timeout(SHORT)
        .build_unchecked(Manager::new(nowhere, NoTls));
    let store = schema.builder().timeout(SHORT).from_pool(pool);
    let key = Key::generate().unwrap();
    wait_until("a reported failure", || {
        assert!(matches!(store.get(&key), Err(Error::TimedOut { .. })));
        store.stats().connect_failures > 0
    });
    assert!(store.stats().calls.errors_of(ErrorKind::TimedOut) > 0);
}

#[test]
fn a_client_that_another_call_uses_is_no_failure_to_connect() {
    let schema = Schema::new();
    let builder = schema.builder().timeout(SHORT);
    let store = builder.from_client(schema.client());
    let within = store.with_client(|_| store.with_client(|_| ()));
    assert!(matches!(within, Ok(Err(Error::TimedOut { .. }))));
    assert_eq!(store.stats().connect_failures, 0);
}

#[test]
fn a_cancelled_statement_is_counted() {
    let schema = Schema::new();
    let store = schema.builder().timeout(SHORT).from_pool(schema.pool(1));
    store.create_table().unwrap();
    let key = store.generate(None, None).unwrap();
    let mut holder = schema.client();
    let held = lock(&mut holder, &key);
    let cancelled = store.update(&key, None, &mut |_| None);
    assert!(
        matches!(cancelled, Err(Error::TimedOut { .. })),
        "{cancelled:?}"
    );
    drop(held);
    let stats = store.stats();
    assert_eq!(stats.cancelled_statements, 1);
    assert_eq!(stats.calls.errors_of(ErrorKind::TimedOut), 1);
}

#[test]
fn connections_are_in_use_or_idle() {
    let schema = Schema::new();
    let pooled = schema.store();
    let single = schema.builder().from_client(schema.client());
    let own = schema
        .builder()
        .connect_with(schema.config(), NoTls)
        .unwrap();
    for (store, max, knows_opening) in [(&pooled, 4, false), (&single, 1, false), (&own, 10, true)]
    {
        let idle = store.stats().connections;
        let used = store.with_client(|_| store.stats().connections).unwrap();
        assert_eq!((idle.in_use, used.in_use), (0, 1));
        assert_eq!((used.max, used.opening.is_some()), (max, knows_opening));
        wait_until("the connection is idle", || {
            let after = store.stats().connections;
            (after.in_use, after.idle) == (0, used.idle + 1)
        });
    }
}

#[test]
fn a_connection_to_a_silent_server_is_being_opened() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let (accepted, has_accepted) = mpsc::channel();
    // The sockets stay open until the test ends.
    thread::spawn(move || {
        for socket in silent.incoming() {
            if accepted.send(socket).is_err() {
                return;
            }
        }
    });
    let options = ConnectOptions::new().host("127.0.0.1").port(address.port());
    let options = options.user("web").startonly(true);
    let builder = PostgresStore::builder().timeout(SHORT).max_connections(1);
    let store = builder.connect(options).unwrap();
    assert_eq!(store.stats().connections.opening, Some(0));
    thread::scope(|scope| {
        scope.spawn(|| store.find(&Key::generate().unwrap()));
        let _socket = has_accepted.recv().unwrap();
        wait_until("it is being opened", || {
            store.stats().connections.opening == Some(1)
        });
        // The connection breaks, and another one is opened.
        drop(has_accepted);
    });
}

#[test]
fn a_pass_that_is_stopped_because_its_pruner_is_dropped_has_not_failed() {
    let schema = Schema::new();
    let store: &'static _ = Box::leak(Box::new(schema.store()));
    store.generate(None, Some(Period::ZERO)).unwrap();
    let mut holder = schema.client();
    let mut held = holder.transaction().unwrap();
    held.batch_execute("LOCK TABLE session").unwrap();
    let pruner = Pruner::start(store);
    wait_until("the pass to wait", || schema.active() > 0);
    drop(pruner);
    wait_until("the pass to be counted", || {
        let pruning = store.stats().pruning;
        pruning.yields + pruning.failures > 0
    });
    let pruning = store.stats().pruning;
    assert_eq!((pruning.failures, pruning.yields), (0, 1));
    assert!(pruning.last_error.is_none());
}

#[test]
fn passes_of_a_pruner_are_counted_by_the_store() {
    let schema = Schema::new();
    let store: &'static _ = Box::leak(Box::new(schema.store()));
    store.generate(None, Some(Period::ZERO)).unwrap();
    assert_eq!(store.prune(10).unwrap(), 1);
    let pruning = store.stats().pruning;
    assert_eq!(
        (pruning.removed, pruning.passes, pruning.failures),
        (1, 1, 0)
    );

    schema.run("DROP TABLE session");
    let pruner = Pruner::start(store);
    wait_until("a failed pass", || pruner.stats().failures > 0);
    let pruning = store.stats().pruning;
    assert_eq!(pruning.failures, 1);
    assert!(matches!(
        pruning.last_error,
        Some(Error::MissingTable { .. })
    ));
}
