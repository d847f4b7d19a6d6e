//! The rules.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use session_postgres::Period;
use throwaway_postgres::Server;

use super::{Adapter, site::Site};
use crate::support::{database::Schema, http::Answer, wait_until};

pub(super) fn the_first_write_creates_a_session_and_a_read_does_not<A: Adapter>() {
    let site = Site::start::<A>();
    let mut visitor = site.visitor();
    assert_eq!(visitor.read("text"), "nothing");
    assert_eq!(visitor.cookie, None);
    assert_eq!(site.schema.count("true"), 0);

    visitor.visit("/write/text/lobster");
    assert!(visitor.cookie.is_some());
    assert_eq!(site.schema.count("true"), 1);
}

pub(super) fn a_written_value_is_read_by_later_requests<A: Adapter>() {
    let site = Site::start::<A>();
    let (mut ada, mut bob) = (site.visitor(), site.visitor());
    ada.visit("/write/text/lobster");
    bob.visit("/write/text/crab");
    ada.visit("/write/animal/shrimp");
    for _ in 0..2 {
        assert_eq!(ada.read("text"), "lobster");
        assert_eq!(ada.read("animal"), "shrimp");
        assert_eq!(bob.read("text"), "crab");
        assert_eq!(bob.read("animal"), "nothing");
    }
    ada.visit("/write/text/prawn");
    assert_eq!(
        (ada.read("text"), bob.read("text")),
        ("prawn".into(), "crab".into())
    );
    assert_eq!(site.schema.count("true"), 2);
}

pub(super) fn a_login_changes_the_cookie_and_ends_the_old_one<A: Adapter>() {
    let site = Site::start::<A>();
    let mut visitor = site.visitor();
    visitor.visit("/write/text/lobster");
    let old = visitor.cookie();
    visitor.visit("/login/Ada");
    assert_ne!(visitor.cookie(), old);
    assert_eq!(visitor.read("user"), "Ada");
    assert_eq!(visitor.read("text"), "lobster");
    site.assert_is_dead(&old);
    assert_eq!(site.schema.count("true"), 1);
}

pub(super) fn a_session_ends_after_its_period<A: Adapter>() {
    // A cookie has whole seconds.
    let site = Site::start_on::<A>(Schema::new(), Period::milliseconds(1_200));
    let mut visitor = site.visitor();
    visitor.visit("/write/text/lobster");
    let cookie = visitor.cookie();
    assert_eq!(site.schema.count("true"), 1);
    wait_until("the session has expired", || {
        site.schema.count("expire_date > clock_timestamp()") == 0
    });
    site.assert_is_dead(&cookie);

    // The dead cookie is not used for a new session.
    visitor.visit("/write/text/crab");
    assert_ne!(visitor.cookie(), cookie);
    site.assert_is_dead(&cookie);
}

pub(super) fn a_logout_ends_the_session_and_its_cookie<A: Adapter>() {
    let site = Site::start::<A>();
    let mut visitor = site.visitor();
    visitor.visit("/login/Ada");
    let cookie = visitor.cookie();
    visitor.visit("/logout");
    assert_eq!(visitor.cookie, None);
    assert_eq!(site.schema.count("true"), 0);
    site.assert_is_dead(&cookie);

    // A browser that keeps the dead cookie gets another one.
    let mut visitor = site.visitor_with(Some(cookie.clone()));
    visitor.visit("/write/text/crab");
    assert_ne!(visitor.cookie(), cookie);
    site.assert_is_dead(&cookie);
}

/// The slow pages, and their documented status if the visitor logs in or out in the meantime.
fn slow_pages<A: Adapter>() -> [(&'static str, u16); 2] {
    [
        ("/slow/text", A::LATE_READ),
        ("/slow/text/crab", A::LATE_WRITE),
    ]
}

pub(super) fn a_slow_request_does_not_revive_a_session_that_is_logged_out<A: Adapter>() {
    let site = Site::start::<A>();
    for (page, status) in slow_pages::<A>() {
        let mut visitor = site.visitor();
        visitor.visit("/login/Ada");
        visitor.visit("/write/text/lobster");
        let cookie = visitor.cookie();
        let late = site.ask_slowly(page, &cookie, || visitor.visit("/logout"));
        assert_eq!(late.status, status, "{page}: {}", late.body);
        visitor.keep_cookie(&late);
        for name in ["user", "text"] {
            assert_eq!(visitor.read(name), "nothing", "{page}");
        }
        site.assert_is_dead(&cookie);
        assert_eq!(site.schema.count("true"), 0, "{page}");
    }
}

pub(super) fn a_slow_request_does_not_log_out_a_visitor_who_logs_in<A: Adapter>() {
    let site = Site::start::<A>();
    for (page, status) in slow_pages::<A>() {
        let mut visitor = site.visitor();
        visitor.visit("/write/text/lobster");
        let old = visitor.cookie();
        let late = site.ask_slowly(page, &old, || visitor.visit("/login/Ada"));
        assert_eq!(late.status, status, "{page}: {}", late.body);
        // The browser gets this answer after that of the login.
        visitor.keep_cookie(&late);
        assert_eq!(visitor.read("user"), "Ada", "{page}");
        site.assert_is_dead(&old);
    }
    assert_eq!(site.schema.count("true"), 2);
}

pub(super) fn two_hundred_requests_at_once_all_see_their_own_session<A: Adapter>() {
    const VISITORS: usize = 200;
    let site = Site::start::<A>();
    let writes: Vec<_> = (0..VISITORS)
        .map(|n| site.send(&format!("/write/text/{n}"), None))
        .collect();
    let cookies: Vec<String> = writes
        .into_iter()
        .map(|write| {
            let answer = Answer::read(write);
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.cookie()
        })
        .collect();
    assert_eq!(HashSet::<&String>::from_iter(&cookies).len(), VISITORS);

    // All requests are in progress at the gate.
    let reads: Vec<_> = cookies
        .iter()
        .map(|cookie| site.send("/slow/text", Some(cookie)))
        .collect();
    site.gate.wait_for(200);
    site.gate.open(VISITORS);
    for (n, read) in reads.into_iter().enumerate() {
        let answer = Answer::read(read);
        assert_eq!((answer.status, answer.body), (200, n.to_string()));
    }
}

pub(super) fn requests_succeed_while_the_database_restarts<A: Adapter>() {
    // Otherwise a crash may lose committed transactions.
    let server = Server::builder()
        .setting("synchronous_commit", "on")
        .start()
        .unwrap();
    let site = Site::start_on::<A>(Schema::on(server.url()), Period::minutes(30));
    let (is_over, errors) = (AtomicBool::new(false), AtomicUsize::new(0));
    let written: Vec<_> = (0..4).map(|_| AtomicUsize::new(0)).collect();
    let visit = |written: &AtomicUsize| {
        let mut visitor = site.visitor();
        visitor.visit("/login/Ada");
        let cookie = visitor.cookie();
        while !is_over.load(Ordering::Relaxed) {
            let next = written.load(Ordering::Relaxed) + 1;
            for page in [&format!("/write/text/{next}"), "/read/text"] {
                let answer = visitor.ask(&format!("GET {page}"), "");
                if answer.status != 200 {
                    errors.fetch_add(1, Ordering::Relaxed);
                }
            }
            written.store(next, Ordering::Relaxed);
        }
        // The session is still the same, and nothing is lost.
        assert_eq!(visitor.cookie(), cookie);
        assert_eq!(visitor.read("user"), "Ada");
        assert_eq!(
            visitor.read("text"),
            written.load(Ordering::Relaxed).to_string()
        );
    };
    thread::scope(|scope| {
        let visitors: Vec<_> = written
            .iter()
            .map(|written| scope.spawn(|| visit(written)))
            .collect();
        let more_visits = || {
            for written in &written {
                // The first one may have begun before the restart.
                let enough = written.load(Ordering::Relaxed) + 2;
                wait_until("two more visits", || {
                    written.load(Ordering::Relaxed) >= enough
                });
            }
        };
        more_visits();
        server.restart().unwrap();
        more_visits();
        server.kill().unwrap();
        server.start_again().unwrap();
        more_visits();
        is_over.store(true, Ordering::Relaxed);
        for visitor in visitors {
            visitor.join().unwrap();
        }
    });
    assert_eq!(errors.into_inner(), 0);
    assert_eq!(site.schema.count("true"), 4);
}
