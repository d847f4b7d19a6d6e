//! The table of OCaml's session-postgresql, shared with a service that uses it.

use session_postgres::{Error, Key, Period, PostgresStore, Store};

use crate::support::{
    database::{OCAML_TABLE, Schema, UPGRADE},
    key,
};

fn ocaml_table() -> (Schema, PostgresStore) {
    let schema = Schema::new();
    schema.run(OCAML_TABLE);
    let store = schema.builder().from_pool(schema.pool(2));
    (schema, store)
}

/// Statements of OCaml's session-postgresql, word for word.
mod ocaml {
    pub(super) const GENERATE: &str = "INSERT INTO session(session_key, expire_date, session_data) \
         VALUES ('ocaml', now() + interval '3600 second', 'lobster')";
    pub(super) const SET: &str = "UPDATE session SET expire_date = now() + interval '3600 second', \
         session_data = 'crab' WHERE session_key = 'ocaml'";
    pub(super) const CLEAR: &str = "DELETE FROM session WHERE session_key = 'ocaml'";
}

#[test]
fn an_ocaml_service_and_this_store_share_sessions() {
    for upgraded in [false, true] {
        let (schema, store) = ocaml_table();
        if upgraded {
            schema.run(UPGRADE);
        }
        let theirs = key("ocaml");
        schema.run(ocaml::GENERATE);
        assert_eq!(store.get(&theirs).unwrap().value, "lobster");
        schema.run(ocaml::SET);
        assert_eq!(store.get(&theirs).unwrap().value, "crab");
        store.set(&theirs, "shrimp", None).unwrap();
        assert_eq!(
            schema.count("session_key = 'ocaml' AND session_data = 'shrimp'"),
            1
        );
        schema.run(ocaml::CLEAR);
        assert!(matches!(store.get(&theirs), Err(Error::NotFound)));

        let ours = store.generate(Some("prawn"), Some(Period::HOUR)).unwrap();
        let seen = format!(
            "session_key = '{ours}' AND session_data = 'prawn' \
             AND expire_date BETWEEN now() + interval '59 minutes' AND now() + interval '61 minutes'"
        );
        assert_eq!(schema.count(&seen), 1);
    }
}

/// The recommended table of the versions before owners and ages.
const PREVIOUS_TABLE: &str = "CREATE TABLE session (session_key char(40) PRIMARY KEY, \
    expire_date timestamp (2) with time zone NOT NULL, session_data text)";

const ADD_COLUMNS: &str = include_str!("../../sql/add-columns.sql");

#[test]
fn the_columns_for_owners_and_ages_can_be_added_to_every_table() {
    let upgraded = format!("{OCAML_TABLE}; {UPGRADE}");
    for (table, more) in [
        (OCAML_TABLE, ""),
        (upgraded.as_str(), ""),
        (PREVIOUS_TABLE, ""),
        (OCAML_TABLE, UPGRADE),
    ] {
        let schema = Schema::new();
        schema.run(table);
        let builder = schema.builder().max_age(Period::DAY);
        let store = builder.from_pool(schema.pool(2));
        let before = schema.builder().from_pool(schema.pool(2));
        let old = before.generate(Some("old"), None).unwrap();
        assert_eq!(before.get(&old).unwrap().age, None);
        assert!(matches!(
            before.owned("crab"),
            Err(Error::MissingColumn { .. })
        ));
        schema.run(ADD_COLUMNS);
        // Twice is harmless.
        schema.run(ADD_COLUMNS);
        schema.run(more);
        store.check().unwrap();
        let indexes = "SELECT FROM pg_index \
             JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] \
             WHERE indrelid = 'session'::regclass AND attname = 'owner'";
        assert_eq!(schema.client().query(indexes, &[]).unwrap().len(), 1);

        // Stores that were there before still work.
        for store in [&before, &store] {
            let session = store.get(&old).unwrap();
            assert_eq!(session.value, "old");
            let age = session.age.unwrap();
            assert!(age >= Period::ZERO && age < Period::HOUR, "{age}");
            store.set_owner(&old, Some("crab")).unwrap();
            assert_eq!(store.owned("crab").unwrap()[0].handle, old.handle());
            store.set(&old, "old", None).unwrap();
        }
        // An OCaml service does not know the new columns.
        schema.run(ocaml::GENERATE);
        let theirs = key("ocaml");
        assert_eq!(store.get(&theirs).unwrap().value, "lobster");
        store.set_owner(&theirs, Some("prawn")).unwrap();
        schema.run(ocaml::SET);
        assert_eq!(store.get(&theirs).unwrap().value, "crab");
        assert!(store.get(&theirs).unwrap().age.unwrap() < Period::HOUR);
        assert_eq!(store.owned("prawn").unwrap().len(), 1);
        schema.run(ocaml::CLEAR);
        assert!(store.find(&theirs).unwrap().is_none());
        schema.run(ocaml::GENERATE);
        assert!(store.owned("prawn").unwrap().is_empty());
        store.clear(&theirs).unwrap();
        assert_eq!(store.clear_owned("crab", None).unwrap(), 1);
    }
}

#[test]
fn the_row_that_expires_last_counts() {
    let (schema, store) = ocaml_table();
    schema.run(
        "INSERT INTO session VALUES \
         ('twice', now() + interval '1 hour', 'short'), \
         ('twice', now() + interval '3 hours', 'long'), \
         ('twice', now() + interval '2 hours', 'middle'), \
         ('twice', now() - interval '1 hour', 'expired'), \
         ('twice', NULL, 'never')",
    );
    let twice = key("twice");
    let is_long = |session: session_postgres::Session| {
        assert_eq!(session.value, "long");
        assert!(session.period > Period::minutes(150));
    };
    is_long(store.get(&twice).unwrap());
    is_long(store.get_many(&[&twice]).pop().unwrap().unwrap());
    is_long(store.update(&twice, None, &mut |_| None).unwrap());
    assert!(matches!(
        store.insert(&twice, None, None),
        Err(Error::KeyExists)
    ));
}

#[test]
fn every_write_applies_to_all_rows_of_a_key() {
    let twice = key("twice");
    let with_two_rows = || {
        let (schema, store) = ocaml_table();
        schema.run(
            "INSERT INTO session VALUES ('twice', now() + interval '1 hour', 'a'), \
             ('twice', now() + interval '2 hours', 'b')",
        );
        (schema, store)
    };

    let (schema, store) = with_two_rows();
    store.set(&twice, "new", None).unwrap();
    assert_eq!(schema.count("session_data = 'new'"), 2);
    assert!(store.set_many(&[(&twice, "newer", None)])[0].is_ok());
    assert_eq!(schema.count("session_data = 'newer'"), 2);
    store
        .update(&twice, None, &mut |_| Some("newest".into()))
        .unwrap();
    assert_eq!(schema.count("session_data = 'newest'"), 2);
    // If only one row expired, the session would be found in the other.
    store.touch(&twice, Some(Period::ZERO)).unwrap();
    assert!(matches!(store.get(&twice), Err(Error::NotFound)));
    store.insert(&twice, Some("again"), None).unwrap();
    assert_eq!(schema.count("true"), 1);

    let (_schema, store) = with_two_rows();
    let new = store.rotate(&twice).unwrap();
    assert!(matches!(store.get(&twice), Err(Error::NotFound)));
    assert_eq!(store.get(&new).unwrap().value, "b");

    for clear in [
        |store: &PostgresStore, key: &Key| store.clear(key),
        |store: &PostgresStore, key: &Key| store.clear_many(&[key]).pop().unwrap(),
    ] {
        let (schema, store) = with_two_rows();
        clear(&store, &twice).unwrap();
        assert_eq!(schema.count("true"), 0);
    }
}

#[test]
fn a_null_expiry_counts_as_expired() {
    let (schema, store) = ocaml_table();
    let key = key("null");
    schema.run("INSERT INTO session VALUES ('null', NULL, 'lobster')");
    assert!(matches!(store.get(&key), Err(Error::NotFound)));
    assert!(matches!(store.get_many(&[&key])[0], Err(Error::NotFound)));
    assert!(matches!(
        store.set(&key, "crab", None),
        Err(Error::NotFound)
    ));
    assert!(matches!(store.touch(&key, None), Err(Error::NotFound)));
    assert!(matches!(store.rotate(&key), Err(Error::NotFound)));
    assert!(matches!(
        store.update(&key, None, &mut |_| None),
        Err(Error::NotFound)
    ));
    store.insert(&key, Some("new"), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "new");
    assert_eq!(schema.count("true"), 1);
}

#[test]
fn infinity_is_the_longest_period_and_minus_infinity_counts_as_expired() {
    for upgraded in [false, true] {
        let (schema, store) = ocaml_table();
        schema.run(
            "INSERT INTO session VALUES ('for ever', 'infinity', 'lobster'); \
             INSERT INTO session VALUES ('ever', 'infinity', 'crab'); \
             INSERT INTO session VALUES ('never', '-infinity', 'shrimp')",
        );
        if upgraded {
            schema.run(UPGRADE);
        }
        let (ever, never) = (key("ever"), key("never"));
        assert_eq!(store.get(&ever).unwrap().period, Period::MAX);
        assert_eq!(
            store.get_many(&[&ever])[0].as_ref().unwrap().period,
            Period::MAX
        );
        assert_eq!(
            store.update(&ever, None, &mut |_| None).unwrap().period,
            Period::MAX
        );
        let ever = store.rotate(&ever).unwrap();
        assert_eq!(store.get(&ever).unwrap().period, Period::MAX);
        assert!(matches!(store.get(&never), Err(Error::NotFound)));
        assert!(matches!(store.set(&never, "x", None), Err(Error::NotFound)));
    }
}

#[test]
fn the_latest_date_of_the_server_can_be_read() {
    let (schema, store) = ocaml_table();
    schema.run("INSERT INTO session VALUES ('late', '294276-12-31 23:59:59.99+00', 'lobster')");
    let session = store.get(&key("late")).unwrap();
    assert!(session.period > Period::DAY * 365 * 290_000 && session.period < Period::MAX);
}

#[test]
fn the_upgrade_keeps_living_sessions_and_makes_keys_unique() {
    let (schema, store) = ocaml_table();
    let kept = store.generate(Some("lobster"), None).unwrap();
    schema.run(
        "INSERT INTO session VALUES \
         ('twice', now() + interval '1 hour', 'short'), \
         ('twice', now() + interval '2 hours', 'long'), \
         ('twice', now() + interval '2 hours', 'long'), \
         ('null', NULL, 'x'), ('expired', now() - interval '1 hour', 'x'), \
         (NULL, now() + interval '1 hour', 'x')",
    );
    schema.run(UPGRADE);
    assert_eq!(store.get(&kept).unwrap().value, "lobster");
    assert_eq!(store.get(&key("twice")).unwrap().value, "long");
    assert_eq!(schema.count("true"), 2);
    store.check().unwrap();
    let double = "INSERT INTO session VALUES ('twice', now(), '')";
    assert!(schema.client().batch_execute(double).is_err());
}

#[test]
fn the_pruning_script_removes_only_expired_rows() {
    let (schema, store) = ocaml_table();
    let kept = store.generate(Some("lobster"), None).unwrap();
    store.generate(Some("crab"), Some(Period::ZERO)).unwrap();
    schema.run("INSERT INTO session VALUES ('null', NULL, 'x'), ('ever', 'infinity', 'x')");
    schema.run(include_str!("../../sql/prune.sql"));
    assert_eq!(store.get(&kept).unwrap().value, "lobster");
    assert_eq!(schema.count("true"), 2);
}

#[test]
fn a_table_with_other_key_types_and_without_rounding_works() {
    let schema = Schema::new();
    for key_type in ["text", "char(64)", "bpchar"] {
        schema.run(&format!(
            "DROP TABLE IF EXISTS session; CREATE TABLE session ( \
             session_key {key_type} PRIMARY KEY, expire_date timestamptz, session_data text)"
        ));
        let store = schema.builder().from_pool(schema.pool(2));
        store.check().unwrap();
        let (long, short) = (store.generate(Some("a"), None).unwrap(), key("short"));
        store.insert(&short, Some("b"), None).unwrap();
        assert_eq!(store.get(&short).unwrap().value, "b");
        let both = [&short, &long];
        let found = store
            .get_many(&both)
            .into_iter()
            .map(|found| found.unwrap().value);
        assert_eq!(found.collect::<Vec<_>>(), ["b", "a"]);
        assert!(
            store
                .set_many(&both.map(|key| (key, "c", None)))
                .iter()
                .all(Result::is_ok)
        );
        assert!(
            store
                .touch_many(&both.map(|key| (key, None)))
                .iter()
                .all(Result::is_ok)
        );
        let again = store.insert_many(&both.map(|key| (key, None, None)));
        assert!(
            again
                .iter()
                .all(|result| matches!(result, Err(Error::KeyExists)))
        );
        assert_eq!(
            store.get(&store.rotate(&short).unwrap()).unwrap().value,
            "c"
        );
        assert!(store.clear_many(&both).iter().all(Result::is_ok));
    }
}

/// Without a unique index, a key may have several rows. The row that expires last counts.
#[test]
fn a_short_period_applies_to_every_row_of_a_key() {
    let schema = Schema::new();
    schema.create_table(true);
    let store = schema.builder().from_pool(schema.pool(1));
    let short = Some(Period::seconds(2));
    type Call = fn(&PostgresStore, &Key, Option<Period>) -> Result<(), Error>;
    let calls: [Call; 4] = [
        |store, key, period| store.set(key, "new", period),
        |store, key, period| store.touch(key, period),
        |store, key, period| store.set_many(&[(key, "new", period); 2]).remove(0),
        |store, key, period| store.touch_many(&[(key, period); 2]).remove(0),
    ];
    for call in calls {
        for period in [Some(Period::ZERO), short] {
            let key = Key::generate().unwrap();
            schema.run(&format!(
                "INSERT INTO session VALUES ('{0}', now() + interval '1 hour', 'old'), \
                     ('{0}', now() + interval '9 seconds', 'old')",
                key.as_str()
            ));
            call(&store, &key, period).unwrap();
            let left = store
                .get(&key)
                .map_or(Period::ZERO, |session| session.period);
            assert!(left <= period.unwrap() + Period::SECOND, "{left}");
        }
    }
}
