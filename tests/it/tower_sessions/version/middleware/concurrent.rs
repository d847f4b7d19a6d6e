//! Requests of one visitor at the same time.

use super::{
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
