//! The absolute timeout: a session ends at its maximum age.

use session_postgres::{
    AsyncStore, Error, Key, MemoryStore, Offload, Period, PostgresStore, SessionFields, Store,
};

use crate::support::{
    database::{OCAML_TABLE, Schema},
    verbs::{VERBS, of_owner},
};

const ADD_COLUMNS: &str = include_str!("../../sql/add-columns.sql");

fn limited(schema: &Schema, max_age: impl Into<Option<Period>>) -> PostgresStore {
    let store = schema.builder().max_age(max_age).from_pool(schema.pool(2));
    store.create_table().unwrap();
    store
}

/// Makes all sessions this old.
fn age(schema: &Schema, minutes: u32) {
    schema.run(&format!(
        "UPDATE session SET created_at = now() - interval '{minutes} minutes'"
    ));
}

/// The version of the only row, which each write changes.
fn version(schema: &Schema) -> String {
    let sql = "SELECT xmin::text || ' ' || ctid::text FROM session";
    schema.client().query_one(sql, &[]).unwrap().get(0)
}

/// The verbs whose calls do not fail if the session is absent.
const OF_OTHERS: [&str; 5] = [
    "generate",
    "insert",
    "clear_owned",
    "clear_handle",
    "clear_many",
];

type Renew = fn(&PostgresStore, &Key) -> Result<Key, Error>;

/// Calls that restart the period of a session. They return its new key.
const RENEWALS: [Renew; 9] = [
    |store, key| store.renew(key, None).map(|_| key.clone()),
    |store, key| store.set(key, "crab", None).map(|()| key.clone()),
    |store, key| {
        store
            .set_many(&[(key, "crab", None); 2])
            .remove(0)
            .map(|()| key.clone())
    },
    |store, key| store.touch(key, None).map(|()| key.clone()),
    |store, key| {
        store
            .update(key, None, &mut |_| Some("crab".into()))
            .map(|_| key.clone())
    },
    |store, key| store.rotate(key),
    |store, key| store.rotate_with(key, SessionFields::new(None, Some(Period::DAY))),
    |store, key| {
        let new = Key::generate()?;
        store.rotate_to(key, &new, of_owner("prawn"))?;
        Ok(new)
    },
    |store, key| store.transaction(|tx| tx.touch(key, Some(Period::DAY)).map(|()| key.clone())),
];

#[test]
fn a_session_ends_at_its_maximum_age_no_matter_how_often_it_is_renewed() {
    let schema = Schema::new();
    let store = limited(&schema, Period::HOUR);
    store.check().unwrap();
    let mut key = store.generate_with(of_owner("crab")).unwrap();
    assert!(store.get(&key).unwrap().period <= Period::HOUR);
    age(&schema, 50);
    let is_capped = |period: Period| {
        assert!(period <= Period::minutes(10), "{period}");
        assert!(period > Period::minutes(8), "{period}");
    };
    for renew in RENEWALS {
        key = renew(&store, &key).unwrap();
        is_capped(store.get(&key).unwrap().period);
        is_capped(store.get_many(&[&key, &key])[1].as_ref().unwrap().period);
        is_capped(store.renew(&key, None).unwrap().period);
        let updated = store.update(&key, None, &mut |_| Some("x".into())).unwrap();
        is_capped(updated.period);
        is_capped(store.update(&key, None, &mut |_| None).unwrap().period);
        is_capped(store.transaction(|tx| tx.get(&key)).unwrap().period);
    }
    is_capped(store.owned("prawn").unwrap()[0].period);
    age(&schema, 61);
    for renew in RENEWALS {
        let result = renew(&store, &key);
        assert!(matches!(result, Err(Error::NotFound)), "{result:?}");
    }
}

#[test]
fn a_session_that_is_too_old_is_absent_for_every_verb() {
    let schema = Schema::new();
    let store = limited(&schema, Period::HOUR);
    for (name, verb) in VERBS {
        let key = store.generate_with(of_owner("crab")).unwrap();
        age(&schema, 61);
        let result = verb(&store, &key);
        let is_of_others = OF_OTHERS.iter().any(|prefix| name.starts_with(prefix));
        assert_eq!(
            matches!(result, Err(Error::NotFound)),
            !is_of_others,
            "{name}: {result:?}"
        );
        store.clear_owned("crab", None).unwrap();
    }
    let key = store.generate_with(of_owner("crab")).unwrap();
    age(&schema, 61);
    assert!(store.owned("crab").unwrap().is_empty());
    assert!(matches!(store.set_owner(&key, None), Err(Error::NotFound)));
    // It is absent for all calls, so it is not counted.
    assert!(!store.clear_handle("crab", &key.handle()).unwrap());
    assert_eq!(store.clear_owned("crab", None).unwrap(), 0);
    // Its key may be used again.
    store.insert(&key, Some("new"), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "new");
    age(&schema, 61);
    let inserted = store.insert_many(&[(&key, Some("newer"), None), (&key, None, None)]);
    assert!(inserted[0].is_ok() && matches!(inserted[1], Err(Error::KeyExists)));
    assert_eq!(store.get(&key).unwrap().value, "newer");
    age(&schema, 61);
    let other = store.generate(Some("other"), None).unwrap();
    store
        .rotate_to(&other, &key, SessionFields::default())
        .unwrap();
    assert_eq!(store.get(&key).unwrap().value, "other");
}

#[test]
fn a_change_of_the_option_applies_to_existing_sessions() {
    let schema = Schema::new();
    let unlimited = limited(&schema, None);
    let key = unlimited.generate(Some("lobster"), None).unwrap();
    age(&schema, 90);
    let (short, long) = (
        limited(&schema, Period::HOUR),
        limited(&schema, Period::HOUR * 2),
    );
    assert!(unlimited.get(&key).unwrap().period > Period::DAY);
    assert!(long.get(&key).unwrap().period <= Period::minutes(30));
    assert!(short.find(&key).unwrap().is_none());
    assert_eq!(unlimited.prune(10).unwrap(), 0);
    assert_eq!(long.prune(10).unwrap(), 0);
    assert_eq!(short.prune(10).unwrap(), 1);
    assert!(unlimited.find(&key).unwrap().is_none());
}

#[test]
fn the_age_is_reported_with_and_without_a_limit() {
    let schema = Schema::new();
    for store in [limited(&schema, None), limited(&schema, Period::DAY)] {
        let key = store.generate_with(of_owner("crab")).unwrap();
        age(&schema, 30);
        let is_right = |age: Option<Period>| {
            let age = age.unwrap();
            assert!(
                age >= Period::minutes(30) && age < Period::minutes(32),
                "{age}"
            );
        };
        is_right(store.get(&key).unwrap().age);
        is_right(store.get_many(&[&key, &key])[0].as_ref().unwrap().age);
        // One that is due, and one that is not.
        is_right(store.renew(&key, Some(Period::DAY * 30)).unwrap().age);
        is_right(store.renew(&key, Some(Period::DAY)).unwrap().age);
        is_right(
            store
                .update(&key, None, &mut |_| Some("x".into()))
                .unwrap()
                .age,
        );
        is_right(store.update(&key, None, &mut |_| None).unwrap().age);
        is_right(store.owned("crab").unwrap()[0].age);
        let key = store.rotate(&key).unwrap();
        is_right(store.get(&key).unwrap().age);
        store.clear(&key).unwrap();
    }
    // A table may be restored from another server, whose clock is ahead.
    let store = limited(&schema, Period::DAY);
    let key = store.generate(Some("x"), None).unwrap();
    schema.run("UPDATE session SET created_at = now() + interval '1 hour'");
    assert_eq!(store.get(&key).unwrap().age, Some(Period::ZERO));
}

/// Calls that do not look at existing sessions do not need the column.
#[test]
fn without_the_column_no_session_is_unlimited() {
    let schema = Schema::new();
    schema.run(OCAML_TABLE);
    let store = schema
        .builder()
        .max_age(Period::HOUR)
        .from_pool(schema.pool(1));
    let key = Key::generate().unwrap();
    schema.run(&format!(
        "ALTER TABLE session ADD COLUMN owner text; INSERT INTO session \
             VALUES ('{key}', now() + interval '1 day', 'x', 'crab')"
    ));
    let is_missing = |name: &str, error: Error| {
        let Error::MissingColumn { source, .. } = &error else {
            panic!("{name}: {error:?}");
        };
        assert!(source.message().contains("created_at"), "{name}: {error:?}");
        assert!(error.to_string().contains("sql/add-columns.sql"), "{error}");
    };
    for (name, verb) in VERBS {
        // `clear` itself removes the session in any case.
        let adds = name.starts_with("generate") || name == "clear_many";
        match verb(&store, &key) {
            Ok(()) => assert!(adds, "{name} has succeeded"),
            Err(error) => is_missing(name, error),
        }
    }
    is_missing("prune", store.prune(10).unwrap_err());
    let problems = store.check().unwrap_err().to_string();
    assert!(problems.contains("column created_at of type"), "{problems}");
    assert_eq!(schema.count("session_data = 'x'"), 1);
    schema.run(ADD_COLUMNS);
    store.check().unwrap();
    assert!(store.get(&key).unwrap().period <= Period::HOUR);
}

#[test]
fn a_session_of_unknown_age_is_too_old() {
    let schema = Schema::new();
    let store = limited(&schema, Period::HOUR);
    schema.run("ALTER TABLE session ALTER COLUMN created_at DROP NOT NULL");
    for (name, verb) in VERBS {
        let key = store.generate_with(of_owner("crab")).unwrap();
        schema.run("UPDATE session SET created_at = NULL");
        let result = verb(&store, &key);
        let is_of_others = OF_OTHERS.iter().any(|prefix| name.starts_with(prefix));
        assert_eq!(
            matches!(result, Err(Error::NotFound)),
            !is_of_others,
            "{name}: {result:?}"
        );
        store.clear_owned("crab", None).unwrap();
    }
    let key = store.generate(Some("lobster"), None).unwrap();
    schema.run("UPDATE session SET created_at = NULL");
    let unlimited = limited(&schema, None);
    let session = unlimited.get(&key).unwrap();
    assert_eq!(session.age, None);
    assert!(store.prune(100).unwrap() > 0);
    assert!(unlimited.find(&key).unwrap().is_none());
}

#[test]
fn a_session_without_an_expiry_date_has_expired_with_and_without_a_limit() {
    let schema = Schema::new();
    for max_age in [None, Some(Period::DAY)] {
        let store = limited(&schema, max_age);
        schema.run("ALTER TABLE session ALTER COLUMN expire_date DROP NOT NULL");
        let key = store.generate_with(of_owner("crab")).unwrap();
        schema.run("UPDATE session SET expire_date = NULL");
        assert!(store.find(&key).unwrap().is_none(), "{max_age:?}");
        let renewed = store.renew(&key, None);
        assert!(matches!(renewed, Err(Error::NotFound)), "{renewed:?}");
        assert!(store.owned("crab").unwrap().is_empty());
        assert_eq!(store.prune(10).unwrap(), 1);
    }
}

#[test]
fn a_maximum_age_that_is_out_of_range_panics() {
    for age in [Period::ZERO, -Period::HOUR, Period::MAX] {
        let postgres = || drop(PostgresStore::builder().max_age(age));
        let memory = || drop(MemoryStore::new().max_age(age));
        assert!(std::panic::catch_unwind(postgres).is_err(), "{age}");
        assert!(std::panic::catch_unwind(memory).is_err(), "{age}");
    }
}

#[test]
fn pruning_removes_the_rows_of_sessions_that_are_too_old() {
    let schema = Schema::new();
    let store = limited(&schema, Period::HOUR);
    store.generate_many(&[SessionFields::new(Some("old"), None); 50]);
    age(&schema, 61);
    let kept = store.generate(Some("kept"), None).unwrap();
    store.generate(Some("expired"), Some(Period::ZERO)).unwrap();
    assert_eq!(store.prune(u64::MAX).unwrap(), 51);
    assert_eq!(store.get(&kept).unwrap().value, "kept");
    assert_eq!(schema.count("true"), 1);
}

#[test]
fn renewals_near_the_maximum_age_do_not_write() {
    let schema = Schema::new();
    let store = limited(&schema, Period::HOUR);
    let key = store.generate(Some("lobster"), Some(Period::HOUR)).unwrap();
    age(&schema, 59);
    let before = version(&schema);
    for _ in 0..5 {
        let session = store.renew(&key, Some(Period::DAY)).unwrap();
        assert!(session.period <= Period::MINUTE);
        let sessions = store.renew_many(&[(&key, Some(Period::DAY)), (&key, None)]);
        assert!(sessions.iter().all(Result::is_ok));
        store
            .transaction(|tx| tx.renew(&key, Some(Period::DAY)))
            .unwrap();
        assert_eq!(version(&schema), before);
    }
    // Without the limit, the session would be renewed.
    schema.store().renew(&key, Some(Period::DAY)).unwrap();
    assert_ne!(version(&schema), before);
}

#[test]
fn the_limit_holds_for_a_facade_and_with_hashed_keys() {
    let schema = Schema::new();
    let builder = schema.builder().max_age(Period::HOUR).hash_keys(true);
    let store = builder.from_pool(schema.pool(2));
    store.create_table().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    age(&schema, 50);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Offload::new(store);
    let renewed = runtime.block_on(store.renew(&key, None)).unwrap();
    assert!(renewed.period <= Period::minutes(10));
    assert!(renewed.age.unwrap() >= Period::minutes(50));
    age(&schema, 60);
    let gone = runtime.block_on(store.find(&key)).unwrap();
    assert!(gone.is_none());
}
