//! Names of the table and its schema, and the error if there is no such table.

use session_postgres::{Error, PostgresStore, Store};

use super::every_verb;
use crate::support::database::Schema;

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
    // Names that also occur in the statements.
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

#[test]
fn a_name_that_postgresql_would_change_is_rejected() {
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
fn the_error_about_a_missing_table_names_it_and_says_how_to_create_it() {
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
