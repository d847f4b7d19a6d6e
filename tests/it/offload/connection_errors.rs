//! The error of a connection reaches every caller.

use std::{net::TcpListener, time::Duration};

use session_postgres::{
    AsyncStore, ConnectOptions, Error, Key, Offload, PostgresStore, postgres::Config,
};
use throwaway_postgres::Server;
use tokio::task::JoinSet;

use super::runtime;
use crate::support::role::server_with_password;

/// Lets `callers` tasks call the store at the same time, and returns their errors.
fn errors(options: ConnectOptions, callers: usize) -> Vec<Error> {
    let runtime = runtime();
    // The first call connects.
    let store = PostgresStore::builder()
        .connect(options.startonly(true))
        .unwrap();
    let store = Offload::builder()
        .timeout(Duration::from_secs(5))
        .build(store);
    runtime.block_on(async {
        let mut calls = JoinSet::new();
        for _ in 0..callers {
            let store = store.clone();
            calls.spawn(async move { store.get(&Key::generate().unwrap()).await });
        }
        let results = calls.join_all().await;
        results.into_iter().map(Result::unwrap_err).collect()
    })
}

/// One more than there are workers, and many more.
const CALLERS: [usize; 2] = [11, 40];

#[test]
fn every_caller_gets_the_error_that_the_password_is_wrong() {
    let server = server_with_password();
    let options: ConnectOptions = server.tcp_url().unwrap().parse().unwrap();
    let options = options.user("web").dbname("postgres").password("crab");
    for callers in CALLERS {
        for error in errors(options.clone(), callers) {
            let text = error.to_string();
            assert!(text.contains("28P01"), "{callers} callers: {text}");
            assert!(text.contains("password authentication failed"), "{text}");
        }
    }
}

#[test]
fn every_caller_gets_the_error_that_there_is_no_server() {
    let config: Config = Server::start().unwrap().url().parse().unwrap();
    // No server listens on this port.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let options = ConnectOptions::new()
        .host("127.0.0.1")
        .port(port)
        .user(config.get_user().unwrap());
    for callers in CALLERS {
        for error in errors(options.clone(), callers) {
            let text = error.to_string();
            assert!(text.contains("refused"), "{callers} callers: {text}");
        }
    }
}
