//! A store that fails, and a server that restarts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use session_postgres::{Offload, PostgresStore};
use throwaway_postgres::Server;

use super::{super::Fixture, HALF_AN_HOUR, new_site, site::site};
use crate::support::{database::Schema, wait_until};

#[test]
fn if_the_store_fails_the_request_fails_and_sets_no_cookie() {
    let (on, site) = new_site();
    let cookie = on.wait(site.visitor());
    on.schema.run("ALTER TABLE session RENAME TO other");
    on.wait(async {
        for path in ["/count", "/peek", "/cycle", "/flush"] {
            let answer = site.ask(path, Some(&cookie)).await;
            assert_eq!((answer.status, answer.set_cookie), (500, None), "{path}");
            assert!(answer.body.contains("does not exist"), "{}", answer.body);
        }
        let begun = site.ask("/count", None).await;
        assert_eq!((begun.status, begun.set_cookie), (500, None));
    });
    on.schema.run("ALTER TABLE other RENAME TO session");
    assert_eq!(on.wait(site.ask("/count", Some(&cookie))).body, "2");
}

#[test]
fn requests_succeed_while_the_server_restarts() {
    // Without this, a crash of the server may lose commits.
    let server = Server::builder()
        .setting("synchronous_commit", "on")
        .start()
        .unwrap();
    let schema = Schema::on(server.url());
    let store: PostgresStore = schema.store();
    let on = Fixture::of(store, schema);
    let site = site(Offload::clone(&on.store), HALF_AN_HOUR);
    let done = Arc::new(AtomicBool::new(false));
    let (visits, visitors): (Vec<_>, Vec<_>) = (0..8)
        .map(|_| {
            let (site, done) = (site.clone(), done.clone());
            let visits = Arc::new(AtomicU64::new(1));
            let made = visits.clone();
            let visitor = on.runtime.spawn(async move {
                let cookie = site.visitor().await;
                while !done.load(Ordering::Relaxed) {
                    let visits = made.fetch_add(1, Ordering::Relaxed) + 1;
                    let answer = site.ask("/count", Some(&cookie)).await;
                    assert_eq!((answer.status, answer.body), (200, visits.to_string()));
                }
            });
            (visits, visitor)
        })
        .unzip();
    let wait_for_visits = || {
        for visits in &visits {
            let before = visits.load(Ordering::Relaxed);
            // The first one may have begun before the restart.
            wait_until("two more visits", || {
                visits.load(Ordering::Relaxed) >= before + 2
            });
        }
    };
    wait_for_visits();
    server.restart().unwrap();
    wait_for_visits();
    server.kill().unwrap();
    server.start_again().unwrap();
    wait_for_visits();
    done.store(true, Ordering::Relaxed);
    for visitor in visitors {
        on.wait(visitor).unwrap();
    }
    assert_eq!(on.schema.count("true"), 8);
}
