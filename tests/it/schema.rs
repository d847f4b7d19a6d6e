//! Making and checking the table.

use std::{sync::Barrier, thread};

use session_postgres::{Error, Key, Period, PostgresStore, Store};

use crate::support::{database::Schema, role::Role};

const GRANT: &str = include_str!("../../sql/grant.sql");

#[test]
fn creating_the_table_is_idempotent_and_leaves_sessions_alone() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate(Some("lobster"), None).unwrap();
    store.create_table().unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    store.check().unwrap();
}

#[test]
fn twenty_threads_create_the_table_at_once() {
    for _ in 0..10 {
        let schema = Schema::new();
        let stores: Vec<_> = (0..20)
            .map(|_| schema.builder().from_client(schema.client()))
            .collect();
        let start = Barrier::new(stores.len());
        thread::scope(|scope| {
            for store in &stores {
                scope.spawn(|| {
                    start.wait();
                    store.create_table().unwrap();
                    store.generate(Some("lobster"), None).unwrap();
                });
            }
        });
        assert_eq!(schema.count("true"), 20);
    }
}

#[test]
fn the_table_and_its_schema_may_have_any_name() {
    let schema = Schema::new();
    let odd = [
        "Session",
        "a.b",
        "select",
        "drop\"; --",
        "ü b",
        "$1",
        "{table}",
        "{=}",
        "{brief}{skip}",
    ];
    // Names that the statements use too.
    let used = [
        "session", "row", "new", "wanted", "locked", "added", "removed", "expired",
    ];
    for name in odd.into_iter().chain(used) {
        let pool = schema.pool(1);
        let named = schema
            .builder()
            .table(name)
            .unwrap()
            .from_pool(pool.clone());
        let found = PostgresStore::builder()
            .table(name)
            .unwrap()
            .from_pool(pool);
        for store in [&named, &found] {
            assert!(
                matches!(store.check(), Err(Error::MissingTable { .. })),
                "{name}"
            );
        }
        named.create_table().unwrap();
        for store in [&named, &found] {
            store.create_table().unwrap();
            store.check().unwrap();
            every_verb(store);
        }
    }
}

/// Uses each verb once, where it finds something to do.
fn every_verb(store: &PostgresStore) {
    let key = store.generate(None, None).unwrap();
    store.set(&key, "lobster", None).unwrap();
    store.touch(&key, None).unwrap();
    let key = store.rotate(&key).unwrap();
    store
        .update(&key, None, &mut |_| Some("crab".into()))
        .unwrap();
    assert_eq!(store.get(&key).unwrap().value, "crab");
    store.clear(&key).unwrap();
    store.insert(&key, None, None).unwrap();
    let made = store.generate_many(&[(None, None), (None, None)]);
    let keys: Vec<_> = made.iter().map(|key| key.as_ref().unwrap()).collect();
    assert!(store.set_many(&[(keys[0], "a", None), (keys[1], "b", None)])[1].is_ok());
    assert!(store.touch_many(&[(keys[0], Some(Period::HOUR))])[0].is_ok());
    assert!(store.get_many(&keys).iter().all(Result::is_ok));
    assert!(store.clear_many(&keys).iter().all(Result::is_ok));
    assert!(store.insert_many(&[(keys[0], None, None)])[0].is_ok());
}

#[test]
fn a_name_that_postgresql_would_change_is_refused() {
    for name in ["", "nul\0", &"x".repeat(64)] {
        for result in [
            PostgresStore::builder().table(name),
            PostgresStore::builder().schema(name),
        ] {
            assert!(matches!(result, Err(Error::InvalidOption(_))), "{name:?}");
        }
    }
    assert!(PostgresStore::builder().table(&"x".repeat(63)).is_ok());
}

#[test]
fn without_a_schema_the_search_path_finds_the_table() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let store = PostgresStore::from_client(schema.client());
    assert_eq!(store.get(&key).unwrap().value, "lobster");
}

#[test]
fn a_missing_table_is_named_with_the_way_to_make_it() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(schema.pool(1));
    let key = "any".parse().unwrap();
    for error in [
        store.get(&key).unwrap_err(),
        store.generate(None, None).unwrap_err(),
        store
            .set_many(&[(&key, "x", None)])
            .pop()
            .unwrap()
            .unwrap_err(),
        store.update(&key, None, &mut |_| None).unwrap_err(),
        store.check().unwrap_err(),
    ] {
        assert!(matches!(error, Error::MissingTable { .. }), "{error:?}");
        let text = error.to_string();
        for part in [
            &format!("{}.\"session\"", schema.quoted()),
            "create_table",
            "sql/create.sql",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.sqlstate().unwrap().code(), "42P01");
    }
    let nowhere = PostgresStore::builder()
        .schema("nowhere")
        .unwrap()
        .from_pool(schema.pool(1));
    assert!(matches!(nowhere.check(), Err(Error::MissingTable { .. })));
    assert!(matches!(nowhere.get(&key), Err(Error::MissingTable { .. })));
}

#[test]
fn a_check_says_what_is_wrong_and_what_would_be_right() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(schema.pool(1));
    let good = [
        "session_key char(40) PRIMARY KEY",
        "expire_date timestamptz(2)",
        "session_data text",
    ];
    let no_index = "no index begins with session_key, so each call reads the whole table";
    let cases: [(usize, &str, &[&str]); 15] = [
        (
            0,
            "session_key char(39) PRIMARY KEY",
            &["session_key is character(39), it should be char(40), or text"],
        ),
        (
            0,
            "session_key bytea PRIMARY KEY",
            &["session_key is bytea, it should be char(40), or text"],
        ),
        (
            0,
            "session_key char PRIMARY KEY",
            &["session_key is character(1), it should be char(40), or text"],
        ),
        (
            0,
            "session_key varchar(40) PRIMARY KEY",
            &[
                "session_key is character varying(40), for which calls use no index, it should be char(40), or text",
            ],
        ),
        (
            0,
            "session_key text PRIMARY KEY DEFERRABLE",
            &["a unique constraint of it is DEFERRABLE, so no session can be inserted"],
        ),
        (
            2,
            "raw text, session_data text GENERATED ALWAYS AS (raw) STORED",
            &["session_data is generated, so nothing can be stored in it"],
        ),
        (0, "session_key text", &[no_index]),
        (
            0,
            "key text",
            &[
                "session_key is missing, it should be char(40), or text",
                no_index,
            ],
        ),
        (
            1,
            "expire_date timestamp",
            &[
                "expire_date is timestamp without time zone, it should be timestamp (2) with time zone",
            ],
        ),
        (
            1,
            "expire_date date",
            &["expire_date is date, it should be timestamp (2) with time zone"],
        ),
        (
            2,
            "session_data varchar(9)",
            &["session_data is character varying(9), it should be text"],
        ),
        (
            2,
            "session_data jsonb",
            &["session_data is jsonb, it should be text"],
        ),
        (
            2,
            "session_data text, owner int NOT NULL",
            &["owner is NOT NULL without a default, so no session can be added"],
        ),
        (
            2,
            "session_data text NOT NULL",
            &["session_data is NOT NULL, so no session can be unset"],
        ),
        (
            1,
            "expire_date timestamptz(1)",
            &[
                "expire_date is timestamp(1) with time zone, it should be timestamp (2) with time zone",
            ],
        ),
    ];
    for (place, column, expected) in cases {
        let mut columns = good;
        columns[place] = column;
        let columns = columns.join(", ");
        schema.run(&format!(
            "DROP TABLE IF EXISTS session; CREATE TABLE session ({columns})"
        ));
        let Err(Error::UnfitTable { problems, .. }) = store.check() else {
            panic!("{column} was taken");
        };
        let problems: Vec<_> = problems
            .iter()
            .map(|p| p.trim_start_matches("column "))
            .collect();
        assert_eq!(problems, expected);
    }
    let columns = good.join(", ");
    for more in [
        "",
        ", owner int",
        ", owner int NOT NULL DEFAULT 0",
        ", id bigserial NOT NULL",
    ] {
        schema.run(&format!(
            "DROP TABLE session; CREATE TABLE session ({columns}{more})"
        ));
        store.check().unwrap();
        store.generate(None, None).unwrap();
    }
    // Names of types are then written otherwise.
    let mut quoting = schema.client();
    quoting
        .batch_execute("SET quote_all_identifiers = on")
        .unwrap();
    schema.builder().from_client(quoting).check().unwrap();
}

#[test]
fn the_four_privileges_are_enough_for_every_verb() {
    let schema = Schema::new();
    schema.store();
    let role = Role::new(&schema);
    role.grant(GRANT);
    let store = role.store();
    store.check().unwrap();
    store.create_table().unwrap();
    every_verb(&store);

    // And they are all it has.
    let denied = store
        .with_client(|client| client.batch_execute("TRUNCATE session"))
        .unwrap();
    assert!(denied.is_err());
}

#[test]
fn a_check_says_which_privilege_is_missing() {
    let schema = Schema::new();
    schema.store();
    let role = Role::new(&schema);
    role.grant("GRANT SELECT, INSERT ON session TO web");
    match role.store().check() {
        Err(Error::UnfitTable { problems, .. }) => {
            assert_eq!(problems.len(), 2, "{problems:?}");
            assert!(problems[0].contains("UPDATE") && problems[1].contains("DELETE"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_role_that_may_not_create_tables_is_told_so() {
    let schema = Schema::new();
    let role = Role::new(&schema);
    let error = role.store().create_table().unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "42501", "{error}");
}

#[test]
fn without_a_schema_to_create_in_the_error_says_what_to_do() {
    let schema = Schema::new();
    let mut stores = Vec::new();
    for path in ["''", "nowhere, \"$user\""] {
        let mut client = schema.client();
        client
            .batch_execute(&format!("SET search_path = {path}"))
            .unwrap();
        stores.push(PostgresStore::from_client(client));
    }
    let builder = PostgresStore::builder().schema("nowhere").unwrap();
    stores.push(builder.from_client(schema.client()));
    for store in stores {
        let error = store.create_table().unwrap_err();
        assert_eq!(error.sqlstate().unwrap().code(), "3F000", "{error}");
        let text = error.to_string();
        for part in [
            "PostgresStore::builder().schema(",
            "search_path",
            "CREATE SCHEMA",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn a_new_session_that_a_trigger_discards_is_an_error() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run(
        "CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.session_data = 'bad' THEN RETURN NULL; END IF; \
             RETURN NEW; \
         END $$; \
         CREATE TRIGGER discard BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION discard()",
    );
    let new = [(); 3].map(|()| Key::generate().unwrap());
    let is_discarded = |result: &Result<(), Error>| match result {
        Err(Error::Database(e)) => e.message().contains("discarded"),
        _ => false,
    };
    let alone = [
        store.generate(Some("bad"), None).map(drop),
        store.insert(&new[0], Some("bad"), None),
    ];
    assert!(alone.iter().all(is_discarded), "{alone:?}");
    let made = store.generate_many(&[(Some("good"), None), (Some("bad"), None)]);
    let [good, bad] = made.try_into().unwrap();
    assert_eq!(store.get(&good.unwrap()).unwrap().value, "good");
    assert!(is_discarded(&bad.map(drop)));
    let inserted =
        store.insert_many(&[(&new[1], Some("good"), None), (&new[2], Some("bad"), None)]);
    assert!(inserted[0].is_ok(), "{inserted:?}");
    assert!(is_discarded(&inserted[1]), "{inserted:?}");
    assert_eq!(schema.count("true"), 2);
}

#[test]
fn a_new_session_that_a_trigger_stores_elsewhere_is_there() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run(
        "CREATE TABLE child (PRIMARY KEY (session_key)) INHERITS (session); \
         CREATE FUNCTION divert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO child VALUES (NEW.*); \
             RETURN NULL; \
         END $$; \
         CREATE TRIGGER divert BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION divert()",
    );
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    for made in store.generate_many(&[(Some("a"), None), (Some("b"), None)]) {
        store.get(&made.unwrap()).unwrap();
    }
    let new = [(); 3].map(|()| Key::generate().unwrap());
    store.insert(&new[0], Some("crab"), None).unwrap();
    let inserted = store.insert_many(&[(&new[1], Some("a"), None), (&new[2], Some("b"), None)]);
    assert!(inserted.iter().all(Result::is_ok), "{inserted:?}");
    for key in &new {
        let again = store.insert(key, Some("prawn"), None);
        assert!(matches!(again, Err(Error::KeyExists)), "{again:?}");
    }
    assert_eq!(store.get(&new[0]).unwrap().value, "crab");
    assert_eq!(schema.count("true"), 6);
}
