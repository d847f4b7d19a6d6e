//! Settings and isolation of the caller's transaction.

use session_postgres::{
    Error, Store,
    postgres::{Client, IsolationLevel, error::SqlState},
};

use super::{WRITES, session};
use crate::support::database::Schema;

fn show(client: &mut impl session_postgres::postgres::GenericClient, setting: &str) -> String {
    let row = client.query_one(&format!("SHOW {setting}"), &[]).unwrap();
    row.get(0)
}

const SETTINGS: [&str; 6] = [
    "lock_timeout",
    "statement_timeout",
    "transaction_isolation",
    "transaction_read_only",
    "synchronous_commit",
    "search_path",
];

#[test]
fn no_call_changes_a_setting_of_the_transaction() {
    let schema = Schema::new();
    let store = schema.store();
    let mut client = schema.client();
    for level in [
        IsolationLevel::ReadCommitted,
        IsolationLevel::RepeatableRead,
        IsolationLevel::Serializable,
    ] {
        for (name, write) in WRITES {
            let key = session(&store);
            let transaction = client.build_transaction().isolation_level(level);
            let mut transaction = transaction.start().unwrap();
            transaction
                .batch_execute(
                    "SET LOCAL lock_timeout = '17s'; SET LOCAL synchronous_commit = 'local'",
                )
                .unwrap();
            let before = SETTINGS.map(|setting| show(&mut transaction, setting));
            write(&mut store.in_transaction(&mut transaction), &key).unwrap();
            store.in_transaction(&mut transaction).owned("x").unwrap();
            let after = SETTINGS.map(|setting| show(&mut transaction, setting));
            assert_eq!(after, before, "{name}");
            assert_eq!(after[0], "17s");
            transaction.rollback().unwrap();
        }
    }
}

/// Begins a transaction whose snapshot is older than the next commit.
fn snapshot(client: &mut Client) -> session_postgres::postgres::Transaction<'_> {
    let transaction = client.build_transaction();
    let transaction = transaction.isolation_level(IsolationLevel::RepeatableRead);
    let mut transaction = transaction.start().unwrap();
    transaction.query_one("SELECT 1", &[]).unwrap();
    transaction
}

#[test]
fn a_conflict_of_repeatable_read_is_an_error_and_is_not_repeated() {
    let schema = Schema::new();
    let store = schema.store();
    let mut client = schema.client();
    // The first three add sessions, which conflict with nothing.
    for (name, write) in WRITES.into_iter().skip(3) {
        let key = session(&store);
        let mut transaction = snapshot(&mut client);
        // Only the expiry date changes, so that the renewal is still due.
        schema.run("UPDATE session SET expire_date = expire_date - interval '1 second'");
        let result = write(&mut store.in_transaction(&mut transaction), &key);
        assert!(
            matches!(result, Err(Error::Database(_))),
            "{name}: {result:?}"
        );
        let error = result.unwrap_err();
        assert_eq!(
            error.sqlstate(),
            Some(&SqlState::T_R_SERIALIZATION_FAILURE),
            "{name}"
        );
        transaction.rollback().unwrap();
        assert_eq!(store.get(&key).unwrap().value, "lobster", "{name}");
        store.clear_owned("user 42", None).unwrap();
    }
}

#[test]
fn an_insert_of_a_key_that_the_snapshot_does_not_see_is_an_error() {
    let schema = Schema::new();
    let store = schema.store();
    let mut client = schema.client();
    let mut transaction = snapshot(&mut client);
    let key = session(&store);
    let result = store
        .in_transaction(&mut transaction)
        .insert(&key, Some("crab"), None);
    let error = result.unwrap_err();
    assert_eq!(error.sqlstate(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    transaction.rollback().unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
}

#[test]
fn a_conflict_in_a_transaction_of_the_store_does_not_repeat_the_closure() {
    let schema = Schema::new();
    schema.store();
    let mut config = schema.config();
    let options = format!(
        "{} -cdefault_transaction_isolation=repeatable\\ read",
        config.get_options().unwrap()
    );
    config.options(&options);
    let store = schema.builder().from_pool(schema.pool_to(config, 1));
    let key = session(&store);
    let mut executed = 0;
    let result = store.transaction(|tx| {
        executed += 1;
        tx.get(&key)?;
        schema.run("UPDATE session SET session_data = 'crab'");
        tx.set(&key, "prawn", None)
    });
    let error = result.unwrap_err();
    assert_eq!(error.sqlstate(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    assert_eq!(executed, 1);
    assert_eq!(store.get(&key).unwrap().value, "crab");
}
