//! Servers that accept connections and never answer, and networks that drop all packets.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use session_postgres::{
    AsyncStore, ConnectOptions, Error, Key, Offload, OffloadBuilder, PostgresStore, Store,
    postgres::Client,
};
use tokio::runtime::{Builder, Runtime};

use super::{in_time, is_about_time, through};
use crate::support::{
    PATIENCE,
    database::{Schema, pid},
    patiently,
    tcp_proxy::TcpProxy,
    wait_until,
};

/// The tests wait until this time has passed, so it is short.
const TIMEOUT: Duration = Duration::from_millis(300);

/// A store whose connections go through a proxy and are all open. The operating system's time limits are off, so
/// that only the store's limits apply.
fn store(proxy: &TcpProxy, schema: &Schema, connections: u32, timeout: Duration) -> PostgresStore {
    schema.store();
    let options = through(proxy, schema).set("connect_timeout", "0").unwrap();
    let store = schema
        .builder()
        .max_connections(connections)
        .min_idle(connections)
        .timeout(timeout)
        .connect(options.set("tcp_user_timeout", "0").unwrap())
        .unwrap();
    wait_until("all connections are open", || {
        proxy.open() == connections as usize
    });
    store
}

#[test]
fn connecting_to_a_server_that_never_answers_fails_in_time() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = ConnectOptions::new()
        .host("127.0.0.1")
        .port(port)
        .connect_timeout(Duration::from_secs(1));
    for options in [options.clone(), options.set("sslmode", "disable").unwrap()] {
        let error = in_time(|| PostgresStore::connect(options).unwrap_err());
        assert!(matches!(error, Error::Connect(_)), "{error:?}");
        assert!(
            error.to_string().contains("did not answer in time"),
            "{error}"
        );
        assert!(error.to_string().contains("connect_timeout"), "{error}");
    }
}

#[test]
fn the_next_host_is_tried_if_one_never_answers() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = listener.local_addr().unwrap().port();
    let options = through(&proxy, &schema)
        .host("127.0.0.1,127.0.0.1")
        .port(format!("{silent},{}", proxy.port()))
        .connect_timeout(Duration::from_secs(1));
    let store = in_time(|| PostgresStore::connect(options).unwrap());
    store.create_table().unwrap();
}

#[test]
fn calls_to_a_silent_server_end_and_their_connections_are_replaced() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let store = store(&proxy, &schema, 4, TIMEOUT);
    let key = patiently(|| store.generate(Some("lobster"), None));

    proxy.fall_silent();
    let (store, key) = in_time(move || {
        thread::scope(|scope| {
            for call in 0..8 {
                let (store, key) = (&store, &key);
                scope.spawn(move || {
                    let other = Key::generate().unwrap();
                    let result = match call % 4 {
                        0 => store.get(key).map(drop),
                        1 => store.set(key, "crab", None),
                        // Its first statement gets no answer.
                        2 => store
                            .update(key, None, &mut |_| Some("crab".into()))
                            .map(drop),
                        _ => store.get_many(&[key, &other]).remove(0).map(drop),
                    };
                    let is_write = call % 4 == 1;
                    match result {
                        Err(Error::TimedOut { .. }) => {}
                        Err(Error::Disconnected(_)) if is_write => {}
                        other => panic!("{other:?}"),
                    }
                });
            }
        });
        (store, key)
    });
    proxy.speak_again();
    wait_until("calls are answered again", || store.get(&key).is_ok());
    let value = patiently(|| store.get(&key)).value;
    assert!(["lobster", "crab"].contains(&value.as_str()));
    // Only now, when it reads again, the proxy notices that connections were closed.
    wait_until("the connections to the silent server are closed", || {
        proxy.open() <= 4
    });
}

#[test]
fn the_outcome_of_a_write_to_a_silent_server_is_unknown() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let store = store(&proxy, &schema, 1, TIMEOUT);
    let key = patiently(|| store.generate(None, None));
    in_time(move || {
        // The outcome is known if the connection was tested first, or the time was up before.
        wait_until("a write is sent", || {
            proxy.speak_again();
            patiently(|| store.set(&key, "lobster", None));
            proxy.fall_silent();
            let error = store.set(&key, "crab", None).unwrap_err();
            assert!(is_about_time(&error), "{error:?}");
            matches!(error, Error::Disconnected(_))
        });
    });
}

/// The unsent data fill every buffer, so the connection cannot send that it ends.
#[test]
fn a_connection_with_full_buffers_can_be_dropped() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let store = store(&proxy, &schema, 1, TIMEOUT);
    let key = patiently(|| store.generate(None, None));
    patiently(|| store.set(&key, "lobster", None));
    proxy.fall_silent();
    let error = in_time(move || {
        let error = store.set(&key, &"crab".repeat(8 << 20), None).unwrap_err();
        drop(store);
        error
    });
    assert!(is_about_time(&error), "{error:?}");
}

#[test]
fn a_call_with_less_time_than_earlier_calls_ends_at_its_own_timeout() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let inner = store(&proxy, &schema, 1, 3 * PATIENCE);
    let key = inner.generate(Some("lobster"), None).unwrap();
    let store = OffloadBuilder::default().timeout(TIMEOUT).build(inner);
    let runtime = runtime();
    proxy.fall_silent();
    let error = runtime.block_on(store.get(&key)).unwrap_err();
    assert!(is_late_read(&error), "{error:?}");
    wait_until("the worker is free", || store.stats().running == 0);
}

#[test]
fn the_deadline_of_an_earlier_call_does_not_end_a_later_one() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    schema.store();
    let timeout = Duration::from_secs(1);
    let builder = schema.builder().max_connections(1).timeout(timeout);
    let store = builder.connect(through(&proxy, &schema)).unwrap();
    let key = patiently(|| store.generate(Some("lobster"), None));
    proxy.delay(Duration::from_millis(100));
    // A slow machine may miss the time limit once, but not with every call for seconds.
    wait_until("calls are answered for longer than one timeout", || {
        let accepted = proxy.accepted();
        patiently(|| store.get(&key));
        let begun = Instant::now();
        while begun.elapsed() < 3 * timeout {
            if store.get(&key).is_err() {
                return false;
            }
        }
        proxy.accepted() == accepted
    });
}

#[test]
fn a_slow_network_is_not_a_silent_one() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let store = store(&proxy, &schema, 1, PATIENCE);
    let key = store.generate(Some("lobster"), None).unwrap();
    proxy.delay(Duration::from_millis(200));
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    store.set(&key, "crab", None).unwrap();
    assert_eq!(proxy.open(), 1);
}

#[test]
fn a_read_survives_cut_connections() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let store = store(&proxy, &schema, 2, PATIENCE);
    let key = store.generate(Some("lobster"), None).unwrap();
    for _ in 0..5 {
        proxy.cut();
        assert_eq!(store.get(&key).unwrap().value, "lobster");
    }
}

/// A server that waits for a lock answers the cancel request, so its connection stays in use.
#[test]
fn a_call_that_waits_for_a_locked_table_keeps_its_connection() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let store = store(&proxy, &schema, 1, TIMEOUT);
    let mut locker = schema.client();
    // On a very slow machine, any server may seem silent.
    wait_until("a call keeps its connection", || {
        let before = pid(&store);
        let mut lock = locker.transaction().unwrap();
        lock.batch_execute("LOCK TABLE session").unwrap();
        let error = store.generate(None, None).unwrap_err();
        assert!(is_about_time(&error), "{error:?}");
        lock.rollback().unwrap();
        matches!(error, Error::TimedOut { .. }) && pid(&store) == before
    });
}

/// Whether this is the error of a read through a facade. The store stops waiting for a silent server shortly
/// before the facade stops waiting for the store.
fn is_late_read(error: &Error) -> bool {
    matches!(error, Error::TimedOut { .. } | Error::StillRunning { .. })
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn the_workers_of_a_facade_become_free_and_its_runtime_shuts_down() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let inner = store(&proxy, &schema, 4, TIMEOUT);
    let key = patiently(|| inner.generate(Some("lobster"), None));
    let store = OffloadBuilder::default().timeout(TIMEOUT).build(inner);

    let runtime = runtime();
    proxy.fall_silent();
    runtime.block_on(async {
        let calls: Vec<_> = (0..40)
            .map(|call| tokio::spawn(make(store.clone(), key.clone(), call)))
            .collect();
        for (call, result) in calls.into_iter().enumerate() {
            let error = result.await.unwrap().unwrap_err();
            let is_expected = match (call % 4, &error) {
                // A query of the user's own, so the error is the driver's.
                (2, Error::Other(_)) | (1 | 3, Error::Disconnected(_)) => true,
                _ => is_late_read(&error),
            };
            assert!(is_expected, "{call}: {error:?}");
        }
    });
    wait_until("the workers are free", || store.stats().running == 0);

    // Calls run while the runtime shuts down.
    for call in 0..40 {
        runtime.spawn(make(store.clone(), key.clone(), call));
    }
    wait_until("the workers are busy", || store.stats().running > 0);
    in_time(move || drop(runtime));
    proxy.speak_again();

    let after = self::runtime();
    wait_until("calls are answered again", || {
        after.block_on(store.get(&key)).is_ok()
    });
}

async fn make(store: Offload<PostgresStore>, key: Key, call: u32) -> Result<(), Error> {
    match call % 4 {
        0 => store.get(&key).await.map(drop),
        1 => store.set(&key, "crab", None).await,
        2 => {
            let own = |client: &mut Client| client.batch_execute("SELECT 1");
            let done = store.run(move |store| store.with_client(own)).await??;
            done.map_err(Error::other)
        }
        _ => store.rotate(&key).await.map(drop),
    }
}

#[test]
fn a_store_is_dropped_while_its_server_is_silent() {
    let schema = Schema::new();
    let proxy = TcpProxy::to(&schema.config());
    let store = store(&proxy, &schema, 4, TIMEOUT);
    proxy.fall_silent();
    in_time(move || drop(store));
}
