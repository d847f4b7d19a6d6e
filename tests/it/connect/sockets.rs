//! Unix sockets: a server that stands still behind one, and a program that may not use TCP.

use std::{env, process::Command, thread, time::Duration};

use session_postgres::{AsyncStore, ConnectOptions, Error, Offload, PostgresStore, Store};
use throwaway_postgres::Server;
use tokio::runtime::Runtime;

use super::{in_time, is_about_time};
use crate::support::{child, patiently, wait_until};

const TIMEOUT: Duration = Duration::from_millis(300);

fn options(server: &Server) -> ConnectOptions {
    server.url().parse().unwrap()
}

fn store(server: &Server) -> PostgresStore {
    let builder = PostgresStore::builder().max_connections(2).timeout(TIMEOUT);
    let store = builder.connect(options(server)).unwrap();
    patiently(|| store.create_table());
    store
}

#[test]
fn calls_to_a_server_that_stands_still_end_and_go_on_with_it() {
    let server = Server::start().unwrap();
    let store = store(&server);
    let key = patiently(|| store.generate(Some("lobster"), None));
    server.pause().unwrap();
    let (store, key) = in_time(move || {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let error = store.set(&key, "crab", None).unwrap_err();
                    assert!(is_about_time(&error), "{error:?}");
                });
            }
        });
        (store, key)
    });
    server.resume().unwrap();
    wait_until("the store serves again", || store.get(&key).is_ok());
}

#[test]
fn a_facades_workers_come_back_from_a_server_that_stands_still() {
    let server = Server::start().unwrap();
    let store = store(&server);
    let key = patiently(|| store.generate(Some("lobster"), None));
    let facade = Offload::builder().timeout(TIMEOUT).build(store);
    let runtime = Runtime::new().unwrap();
    server.pause().unwrap();
    let error = runtime.block_on(facade.get(&key)).unwrap_err();
    let is_late = matches!(error, Error::TimedOut { .. } | Error::StillRunning { .. });
    assert!(is_late, "{error:?}");
    wait_until("the worker is free", || facade.stats().running == 0);
    in_time(move || drop((facade, runtime)));
}

#[test]
fn a_server_that_stands_still_is_not_connected_to_for_ever() {
    let server = Server::start().unwrap();
    let options = options(&server).connect_timeout(Duration::from_secs(1));
    server.pause().unwrap();
    let error = in_time(|| PostgresStore::connect(options).unwrap_err());
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("has not answered in time"), "{text}");
    assert!(
        text.contains(server.socket_dir().to_str().unwrap()),
        "{text}"
    );
}

/// With nothing but Unix sockets, the driver connects to them by itself.
#[test]
fn a_program_that_may_not_use_tcp_has_its_sessions_all_the_same() {
    const NAME: &str =
        "connect::sockets::a_program_that_may_not_use_tcp_has_its_sessions_all_the_same";
    const URL: &str = "SOCKETS_URL";
    if child::is_for(NAME) {
        let options: ConnectOptions = env::var(URL).unwrap().parse().unwrap();
        let builder = PostgresStore::builder().timeout(TIMEOUT);
        let store = builder.connect(options).unwrap();
        patiently(|| store.create_table());
        let key = patiently(|| store.generate(Some("lobster"), None));
        patiently(|| {
            store.with_client(|client| {
                let mut lock = client.transaction().unwrap();
                lock.batch_execute("LOCK TABLE session").unwrap();
                let error = store.set(&key, "crab", None).unwrap_err();
                assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
            })
        });
        assert_eq!(patiently(|| store.get(&key)).value, "lobster");
        return;
    }
    // There, not even the way to oneself is open. Who is not root becomes it, for that only.
    let ways: [&[&str]; 2] = [
        &["unshare", "--net"],
        &["unshare", "--map-root-user", "--net"],
    ];
    let is_open = |way: &&&[&str]| {
        let tried = Command::new(way[0]).args(&way[1..]).arg("true").output();
        tried.is_ok_and(|output| output.status.success())
    };
    let Some(without_network) = ways.iter().find(is_open) else {
        eprintln!("skipped: this user cannot leave the network");
        return;
    };
    let server = Server::start().unwrap();
    child::run_under(without_network, NAME, &[(URL, server.url())]);
}
