//! Creating, saving, loading and deleting records, and their expiry.

use std::time::Duration;

use super::super::tower_sessions::{
    ExpiredDeletion, SessionStore, session::Id, session_store::Error,
};
use session_postgres::{
    MemoryStore, Offload, Period,
    time::{Date, OffsetDateTime},
    tower_sessions::{Adapter, IdleTimeout},
};

use super::{
    super::{Fixture, data, in_time, is_in, record, runtime},
    assert_is_gone,
};
use crate::support::{PATIENCE, wait_until};

#[test]
fn a_created_record_is_loaded_with_its_data_and_expiry() {
    let on = Fixture::new();
    let created = on.created("lobster");
    let loaded = on.load(&created.id).unwrap().unwrap();
    assert_eq!((loaded.id, &loaded.data), (created.id, &created.data));
    assert!(is_in(loaded.expiry_date, Period::minutes(30)));
    assert_eq!(on.load(&Id::default()).unwrap(), None);
}

#[test]
fn creating_a_record_with_an_existing_id_gives_it_another_id() {
    let on = Fixture::new();
    let first = on.created("first");
    let mut second = record("second");
    second.id = first.id;
    on.create(&mut second).unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(on.load(&first.id).unwrap().unwrap().data, data("first"));
    assert_eq!(on.load(&second.id).unwrap().unwrap().data, data("second"));
}

#[test]
fn saving_a_record_replaces_its_data_and_expiry() {
    let on = Fixture::new();
    let mut record = on.created("lobster");
    record.data = data("crab");
    record.expiry_date = in_time(Period::hours(7));
    on.save(&record).unwrap();
    let loaded = on.load(&record.id).unwrap().unwrap();
    assert_eq!(loaded.data, record.data);
    assert!(is_in(loaded.expiry_date, Period::hours(7)));
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn saving_an_absent_or_expired_record_is_an_error_and_creates_nothing() {
    let on = Fixture::new();
    let deleted = on.created("deleted");
    on.delete(&deleted.id).unwrap();
    let never = record("never created");
    for record in [&deleted, &never] {
        assert_is_gone(on.save(record));
        assert_eq!(on.load(&record.id).unwrap(), None);
    }
    assert_eq!(on.schema.count("true"), 0);

    // The row of an expired session still exists.
    let expired = on.created("expired");
    on.schema
        .run("UPDATE session SET expire_date = now() - interval '1 second'");
    assert_is_gone(on.save(&expired));
    assert_eq!(on.load(&expired.id).unwrap(), None);
}

#[test]
fn deleting_an_absent_record_succeeds() {
    let on = Fixture::new();
    let record = on.created("lobster");
    let other = on.created("crab");
    on.delete(&record.id).unwrap();
    on.delete(&record.id).unwrap();
    on.delete(&Id::default()).unwrap();
    assert_eq!(on.load(&record.id).unwrap(), None);
    assert!(on.load(&other.id).unwrap().is_some());
}

#[test]
fn an_expired_record_is_not_loaded_and_its_id_can_be_created_again() {
    let on = Fixture::new();
    let mut record = on.created("lobster");
    on.schema
        .run("UPDATE session SET expire_date = now() - interval '1 second'");
    assert_eq!(on.load(&record.id).unwrap(), None);
    let id = record.id;
    record.data = data("crab");
    on.create(&mut record).unwrap();
    assert_eq!(record.id, id);
    assert_eq!(on.load(&id).unwrap().unwrap().data, data("crab"));
}

#[test]
fn a_record_whose_expiry_is_past_is_not_loaded() {
    let on = Fixture::new();
    for date in [
        in_time(-Period::SECOND),
        OffsetDateTime::UNIX_EPOCH,
        Date::MIN.midnight().assume_utc(),
    ] {
        let mut created = record("lobster");
        created.expiry_date = date;
        on.create(&mut created).unwrap();
        assert_eq!(on.load(&created.id).unwrap(), None, "{date}");

        let mut saved = on.created("lobster");
        saved.expiry_date = date;
        on.save(&saved).unwrap();
        assert_eq!(on.load(&saved.id).unwrap(), None, "{date}");
    }
}

#[test]
fn the_latest_possible_date_is_a_valid_expiry() {
    let on = Fixture::new();
    let last = Date::MAX.midnight().assume_utc();
    let mut record = record("lobster");
    record.expiry_date = last;
    on.create(&mut record).unwrap();
    on.save(&record).unwrap();
    let loaded = on.load(&record.id).unwrap().unwrap();
    assert!((loaded.expiry_date - last).abs() < Period::seconds(20));

    // Rows of OCaml's session-postgresql may have this date.
    on.schema.run("UPDATE session SET expire_date = 'infinity'");
    let loaded = on.load(&record.id).unwrap().unwrap();
    assert!(loaded.expiry_date > last);
    on.save(&loaded).unwrap();
    assert!(on.load(&record.id).unwrap().is_some());
}

#[test]
fn delete_expired_deletes_only_expired_records() {
    let on = Fixture::new();
    let living = on.created("lobster");
    let expired = "INSERT INTO session SELECT n::text, now() - interval '1 second', '{}' \
                   FROM generate_series(1, 2500) AS n";
    let assert_deletes = |deletion: &dyn Fn() -> Result<(), Error>| {
        on.schema.run(expired);
        deletion().unwrap();
        assert_eq!(on.schema.count("true"), 1);
        deletion().unwrap();
        assert!(on.load(&living.id).unwrap().is_some());
    };
    let adapter = Adapter::new(on.store.clone());
    let idle_timeout = IdleTimeout::new(on.store.clone(), Period::HOUR);
    assert_deletes(&|| on.wait(on.store.delete_expired()));
    assert_deletes(&|| on.wait(adapter.delete_expired()));
    assert_deletes(&|| on.wait(idle_timeout.delete_expired()));

    // The task that deletes repeatedly.
    on.schema.run(expired);
    let every = Duration::from_millis(20);
    let task = on.store.clone().continuously_delete_expired(every);
    let task = on.runtime.spawn(task);
    wait_until("the expired records are deleted", || {
        on.schema.count("true") == 1
    });
    task.abort();

    on.schema.run("DROP TABLE session");
    let error = on.wait(on.store.delete_expired()).unwrap_err();
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
}

/// Calls every verb.
async fn assert_keeps_records(store: impl SessionStore) {
    let mut record = record("lobster");
    store.create(&mut record).await.unwrap();
    let mut other = record.clone();
    store.create(&mut other).await.unwrap();
    assert_ne!(other.id, record.id);
    record.data = data("crab");
    store.save(&record).await.unwrap();
    for (stored, text) in [(&record, "crab"), (&other, "lobster")] {
        let loaded = store.load(&stored.id).await.unwrap().unwrap();
        assert_eq!((loaded.id, loaded.data), (stored.id, data(text)));
        assert!(is_in(loaded.expiry_date, Period::minutes(30)));
    }
    store.delete(&record.id).await.unwrap();
    assert_eq!(store.load(&record.id).await.unwrap(), None);
    assert_is_gone(store.save(&record).await);
}

#[test]
fn any_async_store_can_keep_records() {
    let store = Offload::new(MemoryStore::new());
    let run = async {
        assert_keeps_records(store.clone()).await;
        assert_keeps_records(Adapter::new(store.clone())).await;
        assert_keeps_records(IdleTimeout::new(store, Period::minutes(30))).await;
    };
    runtime().block_on(async { tokio::time::timeout(PATIENCE, run).await.unwrap() });
}
