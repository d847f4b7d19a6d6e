//! `create_table`.

use std::{sync::Barrier, thread};

use session_postgres::{PostgresStore, Store};

use crate::support::{database::Schema, role::Role};

#[test]
fn creating_the_table_again_keeps_its_sessions() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate(Some("lobster"), None).unwrap();
    store.create_table().unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    store.check().unwrap();
}

#[test]
fn twenty_threads_can_create_the_table_at_the_same_time() {
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
fn a_role_that_may_not_create_tables_gets_the_error_of_the_server() {
    let schema = Schema::new();
    let role = Role::new(&schema);
    let error = role.store().create_table().unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "42501", "{error}");
}

#[test]
fn if_there_is_no_schema_the_error_says_what_to_do() {
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
