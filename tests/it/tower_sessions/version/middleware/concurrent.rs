//! Requests of one visitor at the same time.

use std::sync::Arc;

use super::{
    super::super::tower_sessions::Session,
    new_site,
    site::{Page, Site},
};

#[test]
fn two_hundred_requests_of_one_visitor_all_succeed() {
    let (on, site) = new_site();
    on.wait(async {
        let cookie = site.visitor().await;
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (site, cookie) = (site.clone(), cookie.clone());
                tokio::spawn(async move { site.ask("/count", Some(&cookie)).await })
            })
            .collect();
        for task in tasks {
            let answer = task.await.unwrap();
            assert_eq!((answer.status, answer.cookie()), (200, cookie.clone()));
        }
        // The middleware does not lock sessions, so the last request overwrites the others.
        let visits: u64 = site
            .ask("/count", Some(&cookie))
            .await
            .body
            .parse()
            .unwrap();
        assert!((3..=202).contains(&visits), "{visits}");
    });
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn a_request_that_ends_after_a_logout_restores_nothing() {
    let (on, site) = new_site();
    let late = on.wait(late(&site, "/flush"));
    assert_eq!((late.status, late.set_cookie), (500, None));
    assert_eq!(on.schema.count("true"), 0);
}

#[test]
fn a_request_that_ends_after_a_login_does_not_restore_the_old_cookie() {
    let (on, site) = new_site();
    let late = on.wait(late(&site, "/cycle"));
    assert_eq!((late.status, late.set_cookie), (500, None));
    assert_eq!(on.schema.count("true"), 1);
    assert_eq!(on.schema.count("session_data LIKE '%1000%'"), 0);
}

/// A store cannot tell this from a login with a cookie that has expired.
#[test]
fn a_request_that_changes_the_id_after_a_logout_creates_the_session_again() {
    let (on, _) = new_site();
    let store = Arc::new(on.store.clone());
    let session = |id| Session::new(id, store.clone(), None);
    let user = async |session: &Session| session.get::<String>("user").await.unwrap();
    on.wait(async {
        let first = session(None);
        first.insert("user", "Ada").await.unwrap();
        first.save().await.unwrap();
        let old = first.id();
        let slow = session(old);
        slow.load().await.unwrap();
        first.flush().await.unwrap();
        assert_eq!(user(&session(old)).await, None);

        slow.cycle_id().await.unwrap();
        slow.save().await.unwrap();
        assert_eq!(user(&session(slow.id())).await.as_deref(), Some("Ada"));
    });
}

/// Returns the answer to a request that changes its session and ends only after the request of `other`.
async fn late(site: &Site, other: &str) -> Page {
    let cookie = site.visitor().await;
    let late = tokio::spawn({
        let (site, cookie) = (site.clone(), cookie.clone());
        async move { site.ask("/linger", Some(&cookie)).await }
    });
    site.linger.arrived.notified().await;
    assert_eq!(site.ask(other, Some(&cookie)).await.status, 200);
    site.linger.go.notify_one();
    late.await.unwrap()
}
