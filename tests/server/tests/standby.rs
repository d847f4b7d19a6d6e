//! A primary and its standby.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use throwaway_postgres::Server;

fn psql(server: &Server, url: &str, sql: &str) -> Command {
    let mut psql = Command::new(server.bin_dir().join("psql"));
    psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, url])
        .stdin(Stdio::null());
    psql
}

fn sql(server: &Server, sql: &str) -> String {
    sql_at(server, server.url(), sql)
}

fn sql_at(server: &Server, url: &str, sql: &str) -> String {
    let output = psql(server, url, sql).output().expect("psql");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
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

const ROWS: &str = "SELECT string_agg(n::text, ' ' ORDER BY n) FROM rows";

#[test]
fn a_standby_reads_what_the_primary_writes_and_takes_over() {
    let primary = Server::builder()
        .tcp(true)
        .setting("work_mem", "5MB")
        .start()
        .expect("a server");
    sql(
        &primary,
        "CREATE TABLE rows (n int); INSERT INTO rows VALUES (1)",
    );
    let standby = primary.standby("it's a \\ \"standby\"").expect("a standby");
    assert_eq!(
        sql(&primary, "SELECT application_name FROM pg_stat_replication"),
        "it's a \\ \"standby\""
    );
    assert_eq!(sql(&standby, "SHOW work_mem"), "5MB");
    assert_ne!(primary.tcp_url(), standby.tcp_url());
    let url = standby.tcp_url().expect("a second url").to_owned();
    sql(&primary, "INSERT INTO rows VALUES (2)");
    until("the row", || sql_at(&standby, &url, ROWS) == "1 2");
    let refused = psql(&standby, &url, "INSERT INTO rows VALUES (3)").output();
    let refused = refused.expect("psql");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("read-only transaction"));

    // Both come back to each other.
    standby.restart().expect("a restart");
    primary.restart().expect("a restart");
    sql(&primary, "INSERT INTO rows VALUES (3)");
    until("the row", || sql(&standby, ROWS) == "1 2 3");

    primary.kill().expect("a kill");
    drop(primary);
    assert_eq!(sql(&standby, ROWS), "1 2 3");
    standby.promote().expect("a new primary");
    sql_at(&standby, &url, "INSERT INTO rows VALUES (4)");
    assert_eq!(sql(&standby, ROWS), "1 2 3 4");
    let error = standby.promote().expect_err("a primary").to_string();
    assert!(error.contains("recovery is not in progress"), "{error}");
}

#[test]
fn a_commit_waits_for_a_synchronous_standby_that_is_paused() {
    let primary = Server::start().expect("a server");
    sql(&primary, "CREATE TABLE rows (n int)");
    let standby = primary.standby("second").expect("a standby");
    primary
        .wait_for_standby("second")
        .expect("a synchronous standby");
    sql(&primary, "INSERT INTO rows VALUES (1)");

    standby.pause().expect("a pause");
    let insert = "INSERT INTO rows VALUES (2)";
    let mut commit = psql(&primary, primary.url(), insert).spawn().expect("psql");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    until("a commit that waits", || sql(&primary, waits) == "1");
    assert_eq!(sql(&primary, ROWS), "1");
    assert!(commit.try_wait().expect("its state").is_none());
    standby.resume().expect("an end");
    assert!(commit.wait().expect("an end").success());
    assert_eq!(sql(&primary, ROWS), "1 2");

    // A copy made now must not wait for the first one.
    let third = primary.standby("third").expect("another standby");
    primary.kill().expect("a kill");
    standby.promote().expect("a new primary");
    assert_eq!(sql(&standby, ROWS), "1 2");
    third.promote().expect("a new primary");
    sql(&third, "INSERT INTO rows VALUES (3)");
    assert_eq!(sql(&third, ROWS), "1 2 3");
}

#[test]
fn a_standby_has_the_same_rules_and_needs_no_more() {
    let primary = Server::builder()
        .tcp(true)
        .hba("host all all 127.0.0.1/32 reject")
        .start()
        .expect("a server");
    let standby = primary.standby("second").expect("a standby");
    for server in [&primary, &standby] {
        assert_eq!(sql(server, "SELECT 1"), "1");
        let url = server.tcp_url().expect("a second url");
        let refused = psql(server, url, "SELECT 1").output().expect("psql");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("pg_hba.conf rejects"));
    }
    primary.stop().expect("an end");
    let error = primary.standby("third").expect_err("no server");
    assert_eq!(error.to_string(), "the server does not run");
}
