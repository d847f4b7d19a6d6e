//! PgBouncer in front of a server.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use throwaway_postgres::{Pooler, Server};

use support::{printed, psql, sql, wait_until};

/// Returns `None` if there is no PgBouncer.
fn start() -> Option<(Server, Pooler)> {
    let server = Server::start().expect("a server");
    let pooler = Pooler::start(&server).expect("no failure")?;
    Some((server, pooler))
}

#[test]
fn with_two_server_connections_a_third_transaction_waits() {
    let Some((server, pooler)) = start() else {
        return;
    };
    let in_transaction = || {
        let mut client = psql(&server, pooler.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql");
        let mut input = client.stdin.take().expect("a pipe");
        let begin = b"BEGIN;\nSELECT pg_backend_pid();\n";
        input.write_all(begin).expect("a transaction");
        (client, input)
    };
    let transactions = || {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
        sql(&server, server.url(), count)
    };
    let first = [in_transaction(), in_transaction()];
    wait_until("two transactions", || transactions() == "2");
    let third = in_transaction();
    let pooler_url = pooler.url().replace("dbname=postgres", "dbname=pgbouncer");
    let waiting = || {
        let pools = sql(&server, &pooler_url, "SHOW POOLS");
        // The columns are database, user, active clients, waiting clients, ...
        let pool = pools.lines().find(|line| line.starts_with("postgres|"));
        pool.and_then(|line| line.split('|').nth(3).map(str::to_owned))
    };
    wait_until("the third to wait", || waiting().as_deref() == Some("1"));
    assert_eq!(transactions(), "2");

    // The third one gets the server connection of the first that ends.
    let mut backends = Vec::new();
    for (client, mut input) in first.into_iter().chain([third]) {
        input.write_all(b"COMMIT;\n").expect("an end");
        drop(input);
        backends.push(printed(&client.wait_with_output().expect("an end")));
    }
    assert_eq!(
        backends.iter().collect::<BTreeSet<_>>().len(),
        2,
        "{backends:?}"
    );
}

#[test]
fn every_user_can_connect_through_the_socket_and_the_port() {
    let Some((server, pooler)) = start() else {
        return;
    };
    sql(&server, server.url(), "CREATE ROLE app LOGIN");
    for url in [pooler.url(), pooler.tcp_url()] {
        assert_eq!(sql(&server, url, "SELECT 1"), "1");
        let url = url.replace("user=postgres", "user=app");
        assert_eq!(sql(&server, &url, "SELECT current_user"), "app");
    }
    let dir = pooler.socket_dir().to_owned();
    drop(pooler);
    assert!(!dir.exists());
}

#[test]
fn the_pooler_reconnects_after_a_restart_of_its_server() {
    let server = Server::builder().tcp(true).start().expect("a server");
    let pooler = Pooler::builder()
        .pool_size(1)
        .setting("query_wait_timeout", "30");
    let Some(pooler) = pooler.start(&server).expect("no failure") else {
        return;
    };
    assert_eq!(sql(&server, pooler.url(), "SELECT 1"), "1");
    server.restart().expect("a restart");
    wait_until("an answer", || {
        let output = psql(&server, pooler.url())
            .args(["-c", "SELECT 2"])
            .output();
        output.is_ok_and(|output| output.status.success())
    });
}

#[test]
fn the_error_of_a_failed_start_contains_the_log() {
    let server = Server::start().expect("a server");
    let started = Pooler::builder()
        .setting("pool_mode", "puddle")
        .start(&server);
    if let Err(error) = started {
        let error = error.to_string();
        assert!(error.starts_with("the pooler did not start"), "{error}");
        assert!(error.contains("puddle"), "{error}");
    } else {
        assert!(started.is_ok_and(|none| none.is_none()));
    }
}
