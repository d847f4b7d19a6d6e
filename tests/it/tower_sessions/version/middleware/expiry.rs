//! Sessions that expire.

use std::time::Duration;

use super::super::tower_sessions::Expiry;
use session_postgres::Period;

use super::{super::Fixture, new_site, site::site};

#[test]
fn after_a_session_has_expired_the_visitor_gets_another_id() {
    let (on, site) = new_site();
    let cookie = on.wait(site.visitor());
    on.schema
        .run("UPDATE session SET expire_date = now() - interval '1 second'");
    on.wait(async {
        assert_eq!(site.ask("/peek", Some(&cookie)).await.body, "None");
        let again = site.ask("/count", Some(&cookie)).await;
        assert_eq!((again.status, again.body.as_str()), (200, "1"));
        assert_ne!(again.cookie(), cookie);
    });
}

#[test]
fn a_session_expires_after_the_period_of_inactivity() {
    let on = Fixture::new();
    let site = site(
        on.store.clone(),
        Expiry::OnInactivity(Period::milliseconds(300)),
    );
    on.wait(async {
        let cookie = site.visitor().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(site.ask("/count", Some(&cookie)).await.body, "1");
    });
}

#[test]
fn set_expiry_changes_the_row_and_the_cookie() {
    let (on, site) = new_site();
    on.wait(async {
        let cookie = site.visitor().await;
        let set = site
            .ask("/prolong", Some(&cookie))
            .await
            .set_cookie
            .unwrap();
        let (_, age) = set.split_once("Max-Age=").unwrap();
        assert!((86_380..=86_400).contains(&age.parse().unwrap()), "{set}");
    });
    let tomorrow = "abs(extract(epoch FROM expire_date - now()) - 86400) < 20";
    assert_eq!(on.schema.count(tomorrow), 1);
}
