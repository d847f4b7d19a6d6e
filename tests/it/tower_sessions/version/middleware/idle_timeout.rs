//! Sites whose sessions end if they are not used.

use super::super::tower_sessions::{Expiry, SessionManagerLayer, SessionStore};
use session_postgres::{Offload, Period, PostgresStore, tower_sessions::IdleTimeout};

use super::{
    super::{Fixture, in_time, record},
    site::{Site, site, site_with},
};

const HALF_AN_HOUR: Period = Period::minutes(30);

fn store(on: &Fixture) -> IdleTimeout<Offload<PostgresStore>> {
    IdleTimeout::new(on.store.clone(), HALF_AN_HOUR)
}

/// The number of sessions that live for about this many minutes.
fn lives_for(on: &Fixture, minutes: u32) -> i64 {
    on.schema.count(&format!(
        "abs(extract(epoch FROM expire_date - now()) - 60 * {minutes}) < 20"
    ))
}

fn minutes_pass(on: &Fixture, minutes: u32) {
    on.schema.run(&format!(
        "UPDATE session SET expire_date = expire_date - interval '{minutes} minutes'"
    ));
}

/// The version of the only row.
fn version(on: &Fixture) -> String {
    let mut client = on.schema.client();
    let sql = "SELECT xmin::text || ctid::text FROM session";
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn a_page_that_only_reads_keeps_the_visitor_logged_in() {
    let on = Fixture::new();
    let site = site(store(&on), Expiry::OnSessionEnd);
    let cookie = on.wait(site.visitor());
    let peek = || on.wait(site.ask("/peek", Some(&cookie))).body;
    assert_eq!(lives_for(&on, 30), 1);
    for _ in 0..3 {
        minutes_pass(&on, 20);
        assert_eq!(peek(), "Some(1)");
        assert_eq!(lives_for(&on, 30), 1);
    }
    minutes_pass(&on, 31);
    assert_eq!(peek(), "None");
}

#[test]
fn requests_within_a_tenth_of_the_period_do_not_write() {
    let on = Fixture::new();
    for always_save in [false, true] {
        on.schema.run("TRUNCATE session");
        let sessions = SessionManagerLayer::new(store(&on))
            .with_expiry(Expiry::OnSessionEnd)
            .with_always_save(always_save);
        let site = site_with(sessions);
        let cookie = on.wait(site.visitor());
        let ask = |path| on.wait(site.ask(path, Some(&cookie))).body;
        let before = version(&on);
        for _ in 0..5 {
            assert_eq!(ask("/peek"), "Some(1)");
        }
        assert_eq!(version(&on), before, "always_save: {always_save}");
        assert_eq!(ask("/count"), "2");
        assert_ne!(version(&on), before);
        assert_eq!(ask("/peek"), "Some(2)");
    }
}

/// Returns the status of pages that have read the session before a login and answer after it.
async fn pages_during_a_login(site: &Site) -> Vec<u16> {
    let cookie = site.visitor().await;
    let pages: Vec<_> = (0..4)
        .map(|_| {
            let (site, cookie) = (site.clone(), cookie.clone());
            tokio::spawn(async move { site.ask("/read-slowly", Some(&cookie)).await.status })
        })
        .collect();
    site.linger.has_read.acquire_many(4).await.unwrap().forget();
    let login = site.ask("/cycle", Some(&cookie)).await;
    assert_eq!(login.status, 200);
    site.linger.may_answer.add_permits(4);
    let mut statuses = Vec::new();
    for page in pages {
        statuses.push(page.await.unwrap());
    }
    assert_eq!(
        site.ask("/peek", Some(&login.cookie())).await.body,
        "Some(1)"
    );
    statuses
}

#[test]
fn pages_in_progress_during_a_login_succeed_without_always_save() {
    let on = Fixture::new();
    let renewing = site(store(&on), Expiry::OnSessionEnd);
    assert_eq!(on.wait(pages_during_a_login(&renewing)), [200; 4]);

    let saving = SessionManagerLayer::new(Offload::clone(&on.store)).with_always_save(true);
    let saving = site_with(saving);
    assert_eq!(on.wait(pages_during_a_login(&saving)), [500; 4]);
}

#[test]
fn a_record_with_a_shorter_life_keeps_it() {
    let on = Fixture::new();
    let store = store(&on);
    let mut record = record("lobster");
    record.expiry_date = in_time(Period::minutes(10));
    on.wait(store.create(&mut record)).unwrap();
    assert_eq!(lives_for(&on, 10), 1);
    for (period, minutes) in [(Period::minutes(5), 5), (Period::days(400), 30)] {
        record.expiry_date = in_time(period);
        on.wait(store.save(&record)).unwrap();
        assert_eq!(lives_for(&on, minutes), 1);
    }
    record.expiry_date = in_time(Period::ZERO);
    on.wait(store.save(&record)).unwrap();
    assert!(on.wait(store.load(&record.id)).unwrap().is_none());
    assert!(on.wait(store.save(&record)).is_err());
}

#[test]
fn a_deleted_session_stays_deleted() {
    let on = Fixture::new();
    let store = store(&on);
    on.wait(async {
        let mut record = record("lobster");
        record.expiry_date = in_time(Period::DAY);
        store.create(&mut record).await.unwrap();
        store.delete(&record.id).await.unwrap();
        assert!(store.save(&record).await.is_err());
        assert!(store.load(&record.id).await.unwrap().is_none());
    });
}
