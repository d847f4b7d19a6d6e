//! Time limits of a store whose connections use TLS.

use std::time::Duration;

use session_postgres::{ConnectOptions, Error, PostgresStore, SslMode, Store, postgres::Client};
use throwaway_postgres::{Server, certificates::Ca};

use super::is_about_time;
use crate::support::{patiently, tcp_proxy::TcpProxy, wait_until};

/// A statement that waits for a lock is cancelled, and the store keeps working.
fn deadlines_hold(options: ConnectOptions) {
    let store = PostgresStore::builder()
        .max_connections(1)
        .timeout(Duration::from_millis(500))
        .connect(options.clone())
        .unwrap();
    patiently(|| store.create_table());
    let key = patiently(|| store.generate(Some("lobster"), None));
    let locker = PostgresStore::connect(options).unwrap();
    let lock = |client: &mut Client| {
        let mut lock = client.transaction().unwrap();
        lock.batch_execute("SELECT FROM session FOR UPDATE")
            .unwrap();
        wait_until("the statement is cancelled in time", || {
            let error = store.set(&key, "crab", None).unwrap_err();
            assert!(is_about_time(&error), "{error:?}");
            matches!(error, Error::TimedOut { .. })
        });
        lock.rollback().unwrap();
    };
    locker.with_client(lock).unwrap();
    assert_eq!(patiently(|| store.get(&key)).value, "lobster");
}

#[test]
fn deadlines_hold_over_tls_and_broken_connections_are_replaced() {
    let ca = Ca::new("ours").unwrap();
    let pair = ca.server(&["db.test"]).unwrap();
    let builder = Server::builder()
        .tcp(true)
        .hba("host all all 127.0.0.1/32 trust")
        .tls(&pair.cert_pem, &pair.key_pem, None);
    let server = match builder.start() {
        Ok(server) => server,
        Err(e) if e.to_string().contains("SSL is not supported by this build") => {
            eprintln!("skipped: this PostgreSQL is built without TLS");
            return;
        }
        Err(e) => panic!("{e}"),
    };
    let proxy = TcpProxy::to(&server.tcp_url().unwrap().parse().unwrap());
    let options: ConnectOptions = server.tcp_url().unwrap().parse().unwrap();
    let options = options
        .host("db.test")
        .hostaddr("127.0.0.1")
        .port(proxy.port())
        .sslmode(SslMode::Require);
    deadlines_hold(options.clone());
    let builder = PostgresStore::builder().max_connections(1);
    let store = builder.clone().connect(options.clone()).unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    proxy.cut();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    let hurried = builder.timeout(Duration::from_millis(500));
    let store = hurried.connect(options).unwrap();
    proxy.fall_silent();
    let error = store.set(&key, "crab", None).unwrap_err();
    assert!(is_about_time(&error), "{error:?}");
    proxy.speak_again();
    wait_until("calls are answered again", || store.get(&key).is_ok());
}
