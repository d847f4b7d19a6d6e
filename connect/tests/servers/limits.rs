//! Time limits: keepalives, deadlines and cancel requests.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use postgres_connect::{
    Cancelled, Canceller, ConnectOptions, Connector, Deadline, connect,
    postgres::{Client, NoTls},
};
use throwaway_postgres::Server;

use crate::support::{PATIENCE, cancels, options, port, server, wait_until};

const TIMEOUT: Duration = Duration::from_millis(200);

#[test]
fn a_statement_is_cancelled_at_its_deadline() {
    cancels(&options());
}

/// On a Unix socket, and on connections of the driver, a cancel request may arrive later.
#[test]
fn a_cancel_request_of_the_driver_is_pending() {
    let socket: ConnectOptions = server().url().parse().unwrap();
    let connector = Connector::new(&socket).unwrap();
    let by_connector = Canceller::new(connector.clone());
    let by_driver = Canceller::by_driver(NoTls);
    for canceller in [by_connector, by_driver] {
        assert!(!canceller.waits_for_server());
        let mut client = connector.connect().unwrap();
        let deadline = Deadline::within(TIMEOUT);
        let guard = canceller.guard(client.cancel_token(), &deadline);
        let error = client.batch_execute("SELECT pg_sleep(60)").unwrap_err();
        assert_eq!(error.code().unwrap().code(), "57014", "{error}");
        assert_eq!(guard.end(), Cancelled::Pending);
    }
}

#[test]
fn a_statement_that_ends_in_time_is_not_cancelled() {
    let connector = Connector::new(&options()).unwrap();
    let canceller = Canceller::new(connector.clone());
    let mut client = connector.connect().unwrap();
    for _ in 0..100 {
        let deadline = Deadline::within(PATIENCE);
        let guard = canceller.guard(client.cancel_token(), &deadline);
        client.batch_execute("SELECT 1").unwrap();
        assert_eq!(guard.end(), Cancelled::No);
    }
}

/// Also if several cancellers guard statements with the same deadline.
#[test]
fn a_deadline_that_is_brought_forward_cancels_its_statements() {
    let named = options().application_name("expiring");
    let connector = Connector::new(&named).unwrap();
    let deadline = Deadline::within(PATIENCE);
    let guarded = || {
        let canceller = Canceller::new(connector.clone());
        let mut client = connector.connect().unwrap();
        let guard = canceller.guard(client.cancel_token(), &deadline);
        let error = client.batch_execute("SELECT pg_sleep(60)").unwrap_err();
        assert_eq!(error.code().unwrap().code(), "57014", "{error}");
        assert_eq!(guard.end(), Cancelled::Over);
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(guarded);
        }
        let mut observer = connect(options()).unwrap();
        wait_until("the statements run", || sleeping(&mut observer) == 3);
        deadline.expire();
    });
    assert!(deadline.elapsed() < PATIENCE);
}

fn sleeping(observer: &mut Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE application_name = 'expiring' AND wait_event = 'PgSleep'";
    observer.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn a_silent_server_is_given_up_after_the_deadline() {
    let server = Server::builder().tcp(true).start().unwrap();
    let options: ConnectOptions = server.tcp_url().unwrap().parse().unwrap();
    let mut client = connect(options.clone()).unwrap();
    server.pause().unwrap();
    let begun = Instant::now();
    let deadline = Deadline::within(TIMEOUT);
    let error = deadline
        .scope(|| client.batch_execute("SELECT 1"))
        .unwrap_err();
    assert!(begun.elapsed() >= TIMEOUT + Deadline::GRACE);
    assert!(error.code().is_none(), "{error}");
    assert!(client.is_closed());

    let error = connect(options.connect_timeout(Duration::from_secs(1)))
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("did not answer in time"),
        "{error}"
    );
    server.resume().unwrap();
}

#[test]
fn work_has_the_earlier_of_its_deadline_and_that_of_its_caller() {
    let outer = Deadline::within(TIMEOUT);
    outer.scope(|| {
        assert_eq!(Deadline::within(PATIENCE).end(), outer.end());
        let inner = Deadline::within(Duration::ZERO);
        assert!(inner.end() < outer.end());
        inner.scope(|| assert_eq!(Deadline::current().unwrap().end(), inner.end()));
        assert_eq!(Deadline::current().unwrap().end(), outer.end());
        let inner = Deadline::within(TIMEOUT / 2);
        outer.expire();
        assert!(inner.has_passed());
    });
    assert!(Deadline::current().is_none());
    assert!(Deadline::within(Duration::MAX).remaining() <= Deadline::LONGEST);
}

/// For each connection from this machine to the port, whether the system sends keepalive probes.
fn are_kept_alive(port: u16) -> Option<Vec<bool>> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let to_port = format!(":{port:04X}");
    let lines = table.lines().skip(1);
    let connections = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let established = connections.filter(|words| words[2].ends_with(&to_port) && words[3] == "01");
    // The timer that runs. 02 is the one of keepalives.
    Some(
        established
            .map(|words| words[5].starts_with("02:"))
            .collect(),
    )
}

#[test]
fn idle_connections_are_kept_alive_unless_that_is_turned_off() {
    let server = Server::builder().tcp(true).start().unwrap();
    let options: ConnectOptions = server.tcp_url().unwrap().parse().unwrap();
    for (keepalives, expected) in [("1", true), ("0", false)] {
        if are_kept_alive(port(&server)).is_none() {
            eprintln!("skipped: /proc/net/tcp does not exist");
            return;
        }
        let options = options.clone().set("keepalives", keepalives).unwrap();
        let _client = connect(options).unwrap();
        // Another timer runs while data is in transit.
        wait_until("the connection is as expected", || {
            are_kept_alive(port(&server)) == Some(vec![expected])
        });
    }
}
