//! Keys that this store has not created.

use actix_session::storage::generate_session_key;
use session_postgres::{PostgresStore, Store};

use super::{Fixture, state};
use crate::support::database::Schema;

#[test]
fn a_key_of_another_store_is_no_session_in_the_recommended_table() {
    let on = Fixture::new();
    let key = String::from(generate_session_key());
    assert_eq!(key.len(), 64);
    on.saved("lobster");
    assert_eq!(on.load(&key).unwrap(), None);
}

#[test]
fn a_key_of_another_store_is_a_session_if_the_table_has_it() {
    let on = Fixture::new();
    on.schema
        .run("ALTER TABLE session ALTER session_key TYPE text");
    let key = String::from(generate_session_key());
    let value = r#"{"text":"lobster"}"#;
    on.schema
        .store()
        .insert(&key.parse().unwrap(), Some(value), None)
        .unwrap();
    assert_eq!(on.load(&key).unwrap(), Some(state("lobster")));
    assert_eq!(on.update(&key, state("crab")).unwrap(), key);
    assert_eq!(on.load(&key).unwrap(), Some(state("crab")));
    on.delete(&key).unwrap();
    assert_eq!(on.load(&key).unwrap(), None);
}

#[test]
fn a_text_that_cannot_be_a_key_is_no_session() {
    let on = Fixture::new();
    on.saved("lobster");
    for text in [
        "",
        "two words",
        "lobster\n",
        "\0",
        "ä",
        &"x".repeat(256),
        &"x".repeat(4_064),
    ] {
        assert_eq!(on.load(text).unwrap(), None, "{text:?}");
    }
}

#[test]
fn a_table_of_hashed_keys_does_not_contain_the_key() {
    let schema = Schema::new();
    let builder = PostgresStore::builder().schema(schema.name()).unwrap();
    let store = builder.hash_keys(true).from_pool(schema.pool(2));
    store.create_table().unwrap();
    let on = Fixture::of(store, schema);
    let key = on.saved("lobster");
    assert_eq!(on.load(&key).unwrap(), Some(state("lobster")));
    on.update(&key, state("crab")).unwrap();
    assert_eq!(on.load(&key).unwrap(), Some(state("crab")));
    let has_key = format!("strpos(session::text, '{key}') > 0");
    assert_eq!(on.schema.count(&has_key), 0);
    on.delete(&key).unwrap();
    assert_eq!(on.schema.count("true"), 0);
}
