//! What tower-sessions asks of a store, and what ours promises beyond.

use std::{collections::HashSet, sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};
use session_postgres::{
    Key, MemoryStore, Offload, Period, Store,
    time::{Date, OffsetDateTime},
};
use tower_sessions::{
    ExpiredDeletion, SessionStore,
    session::{Id, Record},
    session_store::Error,
};

use super::{Fixture, data, in_time, is_in, record, runtime};
use crate::support::{PATIENCE, wait_until};

const SECRET: &str = "SecretOfTheLobster";

fn key(record: &Record) -> Key {
    record.id.to_string().parse().unwrap()
}

fn assert_is_gone(result: Result<(), Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
    assert!(error.to_string().contains("no such session"), "{error}");
}

#[test]
fn a_created_record_is_loaded_with_its_data_and_its_life() {
    let on = Fixture::new();
    let created = on.created("lobster");
    let loaded = on.load(&created.id).unwrap().unwrap();
    assert_eq!((loaded.id, &loaded.data), (created.id, &created.data));
    assert!(is_in(loaded.expiry_date, Period::minutes(30)));
    assert_eq!(on.load(&Id::default()).unwrap(), None);
}

#[test]
fn creating_a_record_whose_id_is_taken_gives_it_another() {
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
fn of_a_hundred_records_of_one_id_created_at_the_same_time_each_gets_its_own() {
    let on = Fixture::new();
    let id = Id::default();
    let records = on.wait(async {
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let store = on.store.clone();
                tokio::spawn(async move {
                    let mut record = record(&number.to_string());
                    record.id = id;
                    store.create(&mut record).await.unwrap();
                    record
                })
            })
            .collect();
        let mut records = Vec::new();
        for task in tasks {
            records.push(task.await.unwrap());
        }
        records
    });
    let ids: HashSet<Id> = records.iter().map(|record| record.id).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.contains(&id));
    for record in &records {
        assert_eq!(on.load(&record.id).unwrap().unwrap().data, record.data);
    }
}

#[test]
fn saving_gives_a_session_new_data_and_a_new_life() {
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
fn saving_what_is_not_there_brings_nothing_back() {
    let on = Fixture::new();
    let deleted = on.created("deleted");
    on.delete(&deleted.id).unwrap();
    let never = record("never created");
    for record in [&deleted, &never] {
        assert_is_gone(on.save(record));
        assert_eq!(on.load(&record.id).unwrap(), None);
    }
    assert_eq!(on.schema.count("true"), 0);

    // Its row is still there.
    let expired = on.created("expired");
    on.schema
        .run("UPDATE session SET expire_date = now() - interval '1 second'");
    assert_is_gone(on.save(&expired));
    assert_eq!(on.load(&expired.id).unwrap(), None);
}

#[test]
fn an_expired_session_is_none_and_its_id_is_free() {
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
fn a_record_whose_expiry_is_past_is_expired_at_once() {
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
fn the_last_date_that_there_is_can_be_asked_for() {
    let on = Fixture::new();
    let last = Date::MAX.midnight().assume_utc();
    let mut record = record("lobster");
    record.expiry_date = last;
    on.create(&mut record).unwrap();
    on.save(&record).unwrap();
    let loaded = on.load(&record.id).unwrap().unwrap();
    assert!((loaded.expiry_date - last).abs() < Period::seconds(20));

    // As rows of the original may have it.
    on.schema.run("UPDATE session SET expire_date = 'infinity'");
    let loaded = on.load(&record.id).unwrap().unwrap();
    assert!(loaded.expiry_date > last);
    on.save(&loaded).unwrap();
    assert!(on.load(&record.id).unwrap().is_some());
}

#[test]
fn all_that_has_expired_is_deleted_and_nothing_else() {
    let on = Fixture::new();
    let living = on.created("lobster");
    let expired = "INSERT INTO session SELECT n::text, now() - interval '1 second', '{}' \
                   FROM generate_series(1, 2500) AS n";
    on.schema.run(expired);
    on.wait(on.store.delete_expired()).unwrap();
    assert_eq!(on.schema.count("true"), 1);
    on.wait(on.store.delete_expired()).unwrap();
    assert!(on.load(&living.id).unwrap().is_some());

    // As a task that goes on.
    on.schema.run(expired);
    let every = Duration::from_millis(20);
    let task = on.store.clone().continuously_delete_expired(every);
    let task = on.runtime.spawn(task);
    wait_until("the expired are deleted", || on.schema.count("true") == 1);
    task.abort();

    on.schema.run("DROP TABLE session");
    let error = on.wait(on.store.delete_expired()).unwrap_err();
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
}

#[test]
fn deleting_is_fine_for_what_is_not_there() {
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
fn of_saves_at_the_same_time_one_is_the_last() {
    let on = Fixture::new();
    let record = on.created("first");
    on.wait(async {
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let (store, mut record) = (on.store.clone(), record.clone());
                record.data = data(&number.to_string());
                tokio::spawn(async move { store.save(&record).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    let loaded = on.load(&record.id).unwrap().unwrap();
    let last: u32 = loaded.data["text"].as_str().unwrap().parse().unwrap();
    assert!(last < 200);
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn of_saves_and_a_deletion_at_the_same_time_none_outlives_it() {
    let on = Fixture::new();
    for _ in 0..20 {
        let record = Arc::new(on.created("lobster"));
        on.wait(async {
            let saves: Vec<_> = (0..40)
                .map(|_| {
                    let (store, record) = (on.store.clone(), record.clone());
                    tokio::spawn(async move { store.save(&record).await })
                })
                .collect();
            let (store, id) = (on.store.clone(), record.id);
            let deletion = tokio::spawn(async move { store.delete(&id).await });
            deletion.await.unwrap().unwrap();
            for save in saves {
                if let Err(error) = save.await.unwrap() {
                    assert_is_gone(Err(error));
                }
            }
        });
        assert_eq!(on.load(&record.id).unwrap(), None);
    }
}

#[test]
fn calls_that_wait_share_a_trip() {
    let fixture = Fixture::new();
    let lone = Offload::builder()
        .max_concurrency(1)
        .build(fixture.schema.store());
    let on = Fixture {
        store: lone,
        ..fixture
    };
    let records: Vec<Record> = (0..100).map(|n| record(&n.to_string())).collect();
    on.wait(async {
        let verbs = ["create", "save", "load", "delete"];
        for verb in verbs {
            let before = on.store.stats();
            let tasks: Vec<_> = records
                .iter()
                .cloned()
                .map(|mut record| {
                    let store = on.store.clone();
                    tokio::spawn(async move {
                        match verb {
                            "create" => store.create(&mut record).await.unwrap(),
                            "save" => store.save(&record).await.unwrap(),
                            "load" => assert!(store.load(&record.id).await.unwrap().is_some()),
                            _ => store.delete(&record.id).await.unwrap(),
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let trips = on.store.stats().batches - before.batches;
            assert!(trips < 50, "{trips} trips for 100 calls to {verb}");
        }
    });
    assert_eq!(on.schema.count("true"), 0);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn data_come_back_as_they_are() {
    let on = Fixture::new();
    let all = prop::collection::hash_map(any::<String>(), value(), 0..20);
    proptest!(ProptestConfig::with_cases(256), |(data in all)| {
        let mut record = record("");
        record.data = data.clone();
        on.create(&mut record).unwrap();
        prop_assert_eq!(on.load(&record.id).unwrap().unwrap().data, data);
    });
}

#[test]
fn data_that_would_not_come_back_are_refused() {
    let on = Fixture::new();
    let nested = |levels: usize| {
        (0..levels).fold(json!(SECRET), |inner, level| match level % 2 {
            0 => json!([inner]),
            _ => json!({ "inner": inner }),
        })
    };
    let mut record = record("");
    record.data.insert("deep".to_owned(), nested(126));
    on.create(&mut record).unwrap();
    assert_eq!(on.load(&record.id).unwrap().unwrap().data, record.data);

    record.data.insert("deep".to_owned(), nested(127));
    for refused in [on.create(&mut record.clone()), on.save(&record)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Encode(_)), "{error:?}");
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
    assert!(on.load(&record.id).unwrap().is_some());
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn a_row_that_is_no_record_is_a_decode_error_that_does_not_quote_it() {
    let on = Fixture::new();
    let store = on.schema.store();
    for value in [
        None,
        Some(""),
        Some("SecretOfTheLobster"),
        Some("\"SecretOfTheLobster\""),
        Some("[\"SecretOfTheLobster\"]"),
        Some("{\"SecretOfTheLobster\": "),
        Some("{\"text\": 1} SecretOfTheLobster"),
        Some("{1: 2}"),
        Some("null"),
    ] {
        let record = record("");
        store.insert(&key(&record), value, None).unwrap();
        let error = on.load(&record.id).unwrap_err();
        assert!(matches!(error, Error::Decode(_)), "{value:?}: {error:?}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains(SECRET), "{text}");
        assert!(!text.contains(&record.id.to_string()), "{text}");
    }
}

#[test]
fn errors_and_debug_hold_no_id_and_no_data() {
    let on = Fixture::new();
    let created = on.created(SECRET);
    let mut errors = Vec::new();
    on.schema.run(&format!(
        "ALTER TABLE session ADD CHECK (session_data NOT LIKE '%{SECRET}!%')"
    ));
    let mut refused = created.clone();
    refused.data = data(&format!("{SECRET}!"));
    errors.push(on.save(&refused).unwrap_err());
    refused.id = Id::default();
    errors.push(on.create(&mut refused.clone()).unwrap_err());
    assert!(
        errors.iter().all(|e| e.to_string().contains("23514")),
        "{errors:?}"
    );
    errors.push(on.save(&refused).unwrap_err());
    on.schema.run("DROP TABLE session");
    errors.push(on.load(&created.id).unwrap_err());
    errors.push(on.delete(&created.id).unwrap_err());
    errors.push(on.save(&created).unwrap_err());
    errors.push(on.create(&mut created.clone()).unwrap_err());
    let texts: Vec<_> = errors.iter().map(|e| format!("{e} {e:?}")).collect();
    for text in texts
        .iter()
        .chain([&format!("{:?} {:#?}", on.store, on.store)])
    {
        for secret in [SECRET, &created.id.to_string(), &refused.id.to_string()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(texts[3].contains("does not exist"), "{}", texts[3]);
}

#[test]
fn an_error_says_what_caused_it() {
    let on = Fixture::new();
    on.schema.run("DROP TABLE session");
    let error = on.load(&Id::default()).unwrap_err();
    assert!(error.to_string().contains(": PostgreSQL: "), "{error}");
}

#[test]
fn the_row_is_the_data_as_json_and_other_programs_may_read_and_write_it() {
    let on = Fixture::new();
    let store = on.schema.store();
    let record = on.created("lobster");
    let session = store.get(&key(&record)).unwrap();
    assert_eq!(session.value, r#"{"text":"lobster"}"#);
    store
        .set(&key(&record), r#"{"text": "crab", "n": 1}"#, None)
        .unwrap();
    let loaded = on.load(&record.id).unwrap().unwrap();
    assert_eq!(loaded.data["text"], "crab");
    assert!(is_in(loaded.expiry_date, Period::WEEK));
}

#[test]
fn any_store_will_do() {
    let store = Offload::new(MemoryStore::new());
    let run = async {
        let mut record = record("lobster");
        store.create(&mut record).await.unwrap();
        store.save(&record).await.unwrap();
        assert!(store.load(&record.id).await.unwrap().is_some());
        store.delete(&record.id).await.unwrap();
        assert_eq!(store.load(&record.id).await.unwrap(), None);
        assert_is_gone(store.save(&record).await);
    };
    runtime().block_on(async { tokio::time::timeout(PATIENCE, run).await.unwrap() });
}
