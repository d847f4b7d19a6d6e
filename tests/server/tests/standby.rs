//! A primary and its standby.

mod support;

use throwaway_postgres::Server;

use support::{psql, sql, wait_until};

fn sql_at_socket(server: &Server, text: &str) -> String {
    sql(server, server.url(), text)
}

const ROWS: &str = "SELECT string_agg(n::text, ' ' ORDER BY n) FROM rows";

#[test]
fn a_standby_follows_its_primary_and_can_replace_it() {
    let primary = Server::builder()
        .tcp(true)
        .setting("work_mem", "5MB")
        .start()
        .expect("a server");
    sql_at_socket(
        &primary,
        "CREATE TABLE rows (n int); INSERT INTO rows VALUES (1)",
    );
    let standby = primary.standby("it's a \\ \"standby\"").expect("a standby");
    assert_eq!(
        sql_at_socket(&primary, "SELECT application_name FROM pg_stat_replication"),
        "it's a \\ \"standby\""
    );
    assert_eq!(sql_at_socket(&standby, "SHOW work_mem"), "5MB");
    assert_ne!(primary.tcp_url(), standby.tcp_url());
    let url = standby.tcp_url().expect("a second url").to_owned();
    sql_at_socket(&primary, "INSERT INTO rows VALUES (2)");
    wait_until("the row", || sql(&standby, &url, ROWS) == "1 2");
    let refused = psql(&standby, &url)
        .args(["-c", "INSERT INTO rows VALUES (3)"])
        .output();
    let refused = refused.expect("psql");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("read-only transaction"));

    // They reconnect after a restart of either.
    standby.restart().expect("a restart");
    primary.restart().expect("a restart");
    sql_at_socket(&primary, "INSERT INTO rows VALUES (3)");
    wait_until("the row", || sql_at_socket(&standby, ROWS) == "1 2 3");

    primary.kill().expect("a kill");
    drop(primary);
    assert_eq!(sql_at_socket(&standby, ROWS), "1 2 3");
    standby.promote().expect("a new primary");
    sql(&standby, &url, "INSERT INTO rows VALUES (4)");
    assert_eq!(sql_at_socket(&standby, ROWS), "1 2 3 4");
    let error = standby.promote().expect_err("a primary").to_string();
    assert!(error.contains("recovery is not in progress"), "{error}");
}

#[test]
fn a_commit_waits_for_a_synchronous_standby_that_is_paused() {
    let primary = Server::start().expect("a server");
    sql_at_socket(&primary, "CREATE TABLE rows (n int)");
    let standby = primary.standby("second").expect("a standby");
    primary
        .wait_for_standby("second")
        .expect("a synchronous standby");
    sql_at_socket(&primary, "INSERT INTO rows VALUES (1)");

    standby.pause().expect("a pause");
    let insert = "INSERT INTO rows VALUES (2)";
    let mut commit = psql(&primary, primary.url())
        .args(["-c", insert])
        .spawn()
        .expect("psql");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    wait_until("a commit that waits", || {
        sql_at_socket(&primary, waits) == "1"
    });
    assert_eq!(sql_at_socket(&primary, ROWS), "1");
    assert!(commit.try_wait().expect("its state").is_none());
    standby.resume().expect("an end");
    assert!(commit.wait().expect("an end").success());
    assert_eq!(sql_at_socket(&primary, ROWS), "1 2");

    // A copy of the primary must not wait for the first standby too.
    let third = primary.standby("third").expect("another standby");
    primary.kill().expect("a kill");
    standby.promote().expect("a new primary");
    assert_eq!(sql_at_socket(&standby, ROWS), "1 2");
    third.promote().expect("a new primary");
    sql_at_socket(&third, "INSERT INTO rows VALUES (3)");
    assert_eq!(sql_at_socket(&third, ROWS), "1 2 3");
}

#[test]
fn a_standby_has_the_options_of_its_primary() {
    let primary = Server::builder()
        .tcp(true)
        .hba("host all all 127.0.0.1/32 reject")
        .start()
        .expect("a server");
    let standby = primary.standby("second").expect("a standby");
    for server in [&primary, &standby] {
        assert_eq!(sql_at_socket(server, "SELECT 1"), "1");
        let url = server.tcp_url().expect("a second url");
        let refused = psql(server, url)
            .args(["-c", "SELECT 1"])
            .output()
            .expect("psql");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("pg_hba.conf rejects"));
    }
    primary.stop().expect("an end");
    let error = primary.standby("third").expect_err("no server");
    assert_eq!(error.to_string(), "the server does not run");
}
