//! `examples/counter.rs`.

use std::net::TcpStream;

use super::{Answer, Site, program::command};
use crate::support::wait_until;

impl Site {
    /// Visits the page. Returns the number of visits and the cookie for the next visit.
    fn visit(&self, cookie: Option<&str>) -> (u64, String) {
        let answer = self.ask("GET /", cookie);
        assert_eq!(answer.status, 200, "{}", answer.body);
        (answer.visits(), answer.cookie())
    }
}

#[test]
fn counter_counts_the_visits_of_each_visitor() {
    let counter = Site::start("counter", &[]);
    let first = counter.ask("GET /", None);
    assert_eq!((first.status, first.visits()), (200, 1));
    let cookie = first.cookie();
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!("{cookie}; HttpOnly; SameSite=Lax; Path=/; Max-Age=1800")
    );
    assert!(cookie.starts_with("counter=") && cookie.len() == "counter=".len() + 40);
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert!(first.header("content-security-policy").is_some());

    assert_eq!(counter.visit(Some(&cookie)), (2, cookie.clone()));
    let among_others = format!("a=b; {cookie}; c=d");
    assert_eq!(counter.visit(Some(&among_others)), (3, cookie.clone()));
    assert_eq!(counter.visit(None).0, 1);
    assert_eq!(counter.visit(Some(&cookie)).0, 4);
}

#[test]
fn counter_shows_the_age_of_a_session_and_each_visit_prolongs_it() {
    let counter = Site::start("counter", &[]);
    let (_, cookie) = counter.visit(None);
    counter.schema.run(
        "UPDATE session_counter SET expire_date = now() + interval '1 minute',
             session_data = '6 ' || extract(epoch FROM now())::bigint - 7300",
    );
    let answer = counter.ask("GET /", Some(&cookie));
    assert_eq!(answer.visits(), 7);
    assert!(answer.body.contains("<dd>2 hours<"));
    assert!(answer.body.contains("<dd>30 minutes<"));
}

#[test]
fn counter_starts_a_new_session_if_the_cookie_is_forged_or_expired() {
    let counter = Site::start("counter", &[]);
    let forged = [&"x".repeat(40), "short", "", "two words", &"x".repeat(41)];
    for key in forged {
        let sent = format!("counter={key}");
        let (visits, cookie) = counter.visit(Some(&sent));
        assert_eq!(visits, 1);
        assert_ne!(cookie, sent);
    }

    let (_, expired) = counter.visit(None);
    let sql = "UPDATE session_counter SET expire_date = now() - interval '1 second'";
    counter.schema.run(sql);
    let (visits, cookie) = counter.visit(Some(&expired));
    assert_eq!(visits, 1);
    assert_ne!(cookie, expired);

    let sql = "UPDATE session_counter SET session_data = 'lobster'";
    counter.schema.run(sql);
    assert_eq!(counter.visit(Some(&cookie)), (1, cookie));
}

#[test]
fn counter_counts_only_visits_of_its_page() {
    let counter = Site::start("counter", &[]);
    assert_eq!(counter.ask("GET /favicon.ico", None).status, 404);
    assert_eq!(counter.rows(&counter.table), 0);
    let (_, cookie) = counter.visit(None);
    for request in ["GET /favicon.ico", "GET /logout", "GET /rotate", "POST /"] {
        let answer = counter.ask(request, Some(&cookie));
        assert!([404, 405].contains(&answer.status));
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(counter.visit(Some(&cookie)), (2, cookie));
    assert_eq!(counter.rows(&counter.table), 1);
}

#[test]
fn counter_deletes_the_session_at_logout() {
    let counter = Site::start("counter", &[]);
    let (_, cookie) = counter.visit(None);
    let out = counter.ask("POST /logout", Some(&cookie));
    assert_eq!((out.status, out.cookie().as_str()), (303, "counter="));
    assert!(out.header("set-cookie").unwrap().contains("; Max-Age=0"));
    assert_eq!(counter.rows(&counter.table), 0);
    let goodbye = counter.ask(&format!("GET {}", out.header("location").unwrap()), None);
    assert_eq!((goodbye.status, counter.rows(&counter.table)), (200, 0));

    let (visits, new) = counter.visit(Some(&cookie));
    assert_eq!(visits, 1);
    assert_ne!(new, cookie);
    assert_eq!(counter.ask("POST /logout", None).status, 303);
    assert_eq!(counter.visit(Some(&new)).0, 2);
}

#[test]
fn counter_rejects_post_requests_from_other_sites() {
    let counter = Site::start("counter", &[]);
    let (_, cookie) = counter.visit(None);
    counter.assert_rejects_other_sites("/logout", &cookie);
    assert_eq!(counter.rows(&counter.table), 0);
}

#[test]
fn counter_can_change_the_key_and_keeps_the_count() {
    let counter = Site::start("counter", &[]);
    let (_, old) = counter.visit(None);
    let rotated = counter.ask("POST /rotate", Some(&old));
    assert_eq!(
        (rotated.status, rotated.header("location")),
        (303, Some("/"))
    );
    let new = rotated.cookie();
    assert_ne!(new, old);
    assert_eq!(counter.visit(Some(&new)), (2, new));
    assert_eq!(counter.visit(Some(&old)).0, 1);
    for absent in [None, Some(old.as_str())] {
        let answer = counter.ask("POST /rotate", absent);
        assert_eq!((answer.status, answer.header("set-cookie")), (303, None));
    }
}

#[test]
fn counter_sets_a_secure_cookie_if_its_origin_is_https() {
    let counter = Site::start("counter", &[("ORIGIN", "https://example.org")]);
    let first = counter.ask("GET /", None);
    let cookie = first.cookie();
    assert!(cookie.starts_with("__Host-counter="));
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!("{cookie}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=1800")
    );
    assert_eq!(counter.visit(Some(&cookie)), (2, cookie.clone()));
    let unprefixed = cookie.replace("__Host-", "");
    assert_eq!(counter.visit(Some(&unprefixed)).0, 1);
}

#[test]
fn counter_shows_no_details_if_the_store_fails() {
    let mut counter = Site::start("counter", &[]);
    let (_, cookie) = counter.visit(None);
    counter.schema.run("DROP TABLE session_counter");
    for (request, cookie) in [
        ("GET /", None),
        ("GET /", Some(cookie.as_str())),
        ("POST /logout", Some(&cookie)),
    ] {
        let answer = counter.ask(request, cookie);
        assert_eq!((answer.status, answer.header("set-cookie")), (500, None));
        assert!(answer.body.contains("Sorry") && !answer.body.contains("session_counter"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    counter.signal("INT");
    assert!(counter.end().success());
    let log = counter.log();
    assert_eq!(log.matches("\"session_counter\" does not exist").count(), 3);
    assert!(!log.contains(cookie.split_once('=').unwrap().1));
}

#[test]
fn counter_answers_open_requests_before_it_stops() {
    for signal in ["INT", "TERM"] {
        let mut counter = Site::start("counter", &[]);
        let (_, cookie) = counter.visit(None);
        // Browsers open connections before they need them. Such a connection must not prevent the end.
        let idle = TcpStream::connect(counter.address).unwrap();
        let mut client = counter.schema.client();
        let mut lock = client.transaction().unwrap();
        lock.execute("SELECT FROM session_counter FOR UPDATE", &[])
            .unwrap();
        let waiting = counter.send("GET /", Some(&cookie), "");
        wait_until("the visit waits for the row", || {
            let sql =
                "SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))";
            !lock.query(sql, &[]).unwrap().is_empty()
        });

        counter.signal(signal);
        wait_until("it accepts no more connections", || {
            TcpStream::connect(counter.address).is_err()
        });
        assert!(counter.has_ended().is_none());
        lock.commit().unwrap();
        let answer = Answer::read(waiting);
        assert_eq!((answer.status, answer.visits()), (200, 2));
        assert!(counter.end().success());
        drop(idle);
    }
}

#[test]
fn counter_reports_that_its_port_is_in_use() {
    let counter = Site::start("counter", &[]);
    let second = command("counter")
        .env("LISTEN", counter.address.to_string())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert!(stderr.contains(&format!("cannot listen on {}", counter.address)));
}
