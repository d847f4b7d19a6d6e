//! A pooler in front of a server.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use throwaway_postgres::{Pooler, Server};

/// Both, or `None` where there is no PgBouncer.
fn start() -> Option<(Server, Pooler)> {
    let server = Server::start().expect("a server");
    let pooler = Pooler::start(&server).expect("no failure")?;
    Some((server, pooler))
}

fn psql(server: &Server, url: &str) -> Command {
    let mut psql = Command::new(server.bin_dir().join("psql"));
    psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", url])
        .stdin(Stdio::null());
    psql
}

fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn sql(server: &Server, url: &str, sql: &str) -> String {
    printed(&psql(server, url).args(["-c", sql]).output().expect("psql"))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        let waited = start.elapsed();
        assert!(
            waited < Duration::from_secs(30),
            "waited too long for {what}"
        );
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_transactions_run_and_a_third_waits() {
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
    until("two transactions", || transactions() == "2");
    let third = in_transaction();
    let pooler_url = pooler.url().replace("dbname=postgres", "dbname=pgbouncer");
    let waiting = || {
        let pools = sql(&server, &pooler_url, "SHOW POOLS");
        // After the names come the clients that are served and those that wait.
        let of_ours = pools.lines().find(|line| line.starts_with("postgres|"));
        of_ours.and_then(|line| line.split('|').nth(3).map(str::to_owned))
    };
    until("the third to wait", || waiting().as_deref() == Some("1"));
    assert_eq!(transactions(), "2");

    // Whichever ends makes room.
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
fn the_pooler_answers_at_its_socket_and_port_to_all_users() {
    let Some((server, pooler)) = start() else {
        return;
    };
    sql(&server, server.url(), "CREATE ROLE app LOGIN");
    for url in [pooler.url(), pooler.tcp_url()] {
        assert_eq!(sql(&server, url, "SELECT 1"), "1");
        let url = url.replace("user=postgres", "user=app");
        assert_eq!(sql(&server, &url, "SELECT current_user"), "app");
    }
    let folder = pooler.socket_dir().to_owned();
    drop(pooler);
    assert!(!folder.exists());
}

#[test]
fn the_pooler_outlives_a_restart_of_its_server() {
    let server = Server::builder().tcp(true).start().expect("a server");
    let pooler = Pooler::builder()
        .pool_size(1)
        .setting("query_wait_timeout", "30");
    let Some(pooler) = pooler.start(&server).expect("no failure") else {
        return;
    };
    assert_eq!(sql(&server, pooler.url(), "SELECT 1"), "1");
    server.restart().expect("a restart");
    until("an answer", || {
        let output = psql(&server, pooler.url())
            .args(["-c", "SELECT 2"])
            .output();
        output.is_ok_and(|output| output.status.success())
    });
}

#[test]
fn an_error_has_the_log_of_the_pooler() {
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
