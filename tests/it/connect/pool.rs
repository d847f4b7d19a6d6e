//! The pool of a store that `connect` has made.

use std::{sync::Barrier, thread, time::Duration};

use r2d2_postgres::PostgresConnectionManager;
use session_postgres::{
    ConnectOptions, Error, Key, PostgresStore, Store,
    postgres::{Client, Config, NoTls},
    r2d2::Pool,
};
use throwaway_postgres::Server;

use super::through;
use crate::support::{
    PATIENCE,
    database::{Schema, url},
    role::server_with_password,
    tcp_proxy::TcpProxy,
    wait_until,
};

/// Hosting providers set this if a disk is nearly full. It does not mean that another server accepts writes.
#[test]
fn a_read_only_server_keeps_its_connections_and_the_error_says_what_to_do() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let proxy = TcpProxy::to(&schema.config());
    let builder = || schema.builder().max_connections(4).min_idle(4);
    let pooled = builder().connect(through(&proxy, &schema)).unwrap();
    wait_until("all connections are open", || proxy.open() == 4);
    let single = schema.builder().from_client(schema.client());
    for store in [pooled, single] {
        let read_only =
            |client: &mut Client| client.batch_execute("SET default_transaction_read_only = on");
        let connections = store.parallelism().get();
        let barrier = Barrier::new(connections);
        thread::scope(|scope| {
            // One call for each connection, at the same time.
            for _ in 0..connections {
                scope.spawn(|| {
                    let set = |client: &mut Client| {
                        barrier.wait();
                        read_only(client)
                    };
                    store.with_client(set).unwrap().unwrap();
                });
            }
        });
        let accepted = proxy.accepted();
        let new = Key::generate().unwrap();
        for _ in 0..20 {
            for result in [
                store.generate(None, None).map(drop),
                store.set(&key, "crab", None),
                store.touch(&key, None),
                store.clear(&key),
                store.insert(&new, None, None),
                store.rotate(&key).map(drop),
                store
                    .update(&key, None, &mut |_| Some("crab".into()))
                    .map(drop),
                store
                    .set_many(&[(&key, "crab", None), (&new, "crab", None)])
                    .remove(0),
            ] {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Database(_)), "{error:?}");
                assert_eq!(error.sqlstate().unwrap().code(), "25006");
                let advice = "target_session_attrs=read-write";
                assert!(error.to_string().contains(advice), "{error}");
            }
            assert_eq!(store.get(&key).unwrap().value, "lobster");
        }
        assert_eq!(proxy.accepted(), accepted);
    }
}

#[test]
fn connections_are_opened_in_parallel() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    proxy.fall_silent();
    let options = through(&proxy, &schema).startonly(true);
    // If they were opened one after another, the second would never be opened.
    let options = options.set("connect_timeout", "0").unwrap();
    let builder = schema.builder().max_connections(3).min_idle(3);
    let store = builder.connect(options).unwrap();
    wait_until("all three connect", || proxy.accepted() == 3);
    proxy.speak_again();
    store.create_table().unwrap();
}

#[test]
fn with_startonly_the_first_call_connects() {
    let server = Server::start().unwrap();
    server.stop().unwrap();
    let options = ConnectOptions::new()
        .conninfo(server.url())
        .unwrap()
        .startonly(true);
    let builder = PostgresStore::builder().timeout(Duration::from_millis(300));
    let store = builder.connect(options.clone()).unwrap();
    let error = store.create_table().unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    let why = "no server has its socket there";
    assert!(error.to_string().contains(why), "{error}");
    server.start_again().unwrap();
    let store = PostgresStore::builder()
        .timeout(PATIENCE)
        .connect(options)
        .unwrap();
    store.create_table().unwrap();
}

#[test]
fn the_pool_has_the_size_of_its_options() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let options = through(&proxy, &schema);
    let builder = schema.builder().max_connections(3).min_idle(2);
    let store = builder.clone().connect(options.clone()).unwrap();
    wait_until("two are open", || proxy.open() == 2);
    store.create_table().unwrap();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope
                .spawn(|| store.with_client(|client| client.batch_execute("SELECT pg_sleep(0.1)")));
        }
    });
    wait_until("three are open", || proxy.open() == 3);
    for builder in [
        builder.clone().min_idle(4),
        builder.max_connections(u32::MAX),
    ] {
        let error = builder.connect(options.clone()).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
    }
}

/// The pool checks its connections twice a minute.
#[test]
fn old_and_idle_connections_are_closed() {
    let schema = Schema::new();
    let (aging, resting) = (
        TcpProxy::to(&schema.config()),
        TcpProxy::to(&schema.config()),
    );
    let second = Duration::from_secs(1);
    let aged = schema.builder().max_lifetime(second).min_idle(1);
    let rested = schema.builder().idle_timeout(second).min_idle(0);
    let _aged = aged.connect(through(&aging, &schema)).unwrap();
    let rested = rested.connect(through(&resting, &schema)).unwrap();
    wait_until("one is open", || aging.open() == 1);
    let accepted = aging.accepted();
    rested.create_table().unwrap();
    assert!(resting.open() > 0);
    wait_until("the old one is replaced", || aging.accepted() > accepted);
    wait_until("the idle one is closed", || resting.open() == 0);
    rested.check().unwrap();
}

#[test]
fn checkout_timeout_limits_the_wait_for_a_connection() {
    let schema = Schema::new();
    let builder = schema
        .builder()
        .max_connections(1)
        .timeout(PATIENCE)
        .checkout_timeout(Duration::from_millis(50));
    let store = builder.connect(url()).unwrap();
    store.create_table().unwrap();
    let inner = store.with_client(|_| store.generate(None, None)).unwrap();
    match inner.unwrap_err() {
        Error::TimedOut { waited, .. } => assert!(waited < PATIENCE),
        other => panic!("{other:?}"),
    }
    store.generate(None, None).unwrap();
}

/// Checks that each of many callers gets the reason why there is no connection.
fn each_gets_reason(store: &PostgresStore, cause: &str) {
    let key = Key::generate().unwrap();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| store.get(&key).unwrap_err()))
            .collect();
        for call in calls {
            let error = call.join().unwrap();
            let Error::TimedOut { reason, .. } = &error else {
                panic!("{error:?}");
            };
            assert!(reason.contains(cause), "{reason}");
        }
    });
}

#[test]
fn each_of_many_callers_gets_the_reason_why_there_is_no_connection() {
    let server = server_with_password();
    let mut own = server.tcp_url().unwrap().parse::<Config>().unwrap();
    own.user("web").password("SecretOfTheCrab");
    let builder = || PostgresStore::builder().timeout(Duration::from_secs(2));
    let pool = || {
        let manager = PostgresConnectionManager::new(own.clone(), NoTls);
        Pool::builder().max_size(4).build_unchecked(manager)
    };
    let options: ConnectOptions = server.tcp_url().unwrap().parse().unwrap();
    let options = options
        .user("web")
        .dbname("postgres")
        .password("SecretOfTheCrab")
        .startonly(true);
    let connected = || builder().connect(options.clone()).unwrap();
    let cause = "password authentication failed";
    each_gets_reason(&connected(), cause);
    // The pool passes on only the text of the driver's error, which does not contain the server's message.
    each_gets_reason(&builder().from_pool(pool()), ": db error");

    server.stop().unwrap();
    let cause = "refused";
    each_gets_reason(&connected(), cause);
    each_gets_reason(&builder().from_pool(pool()), ": error connecting");
}
