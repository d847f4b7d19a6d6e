//! Transactions that another user of a connection has left open.

use std::panic::{AssertUnwindSafe, catch_unwind};

use session_postgres::{Error, Key, PostgresStore, Store, postgres::Client};

use crate::support::{
    database::Schema,
    verbs::{VERBS, of_owner},
};

/// Begins a transaction that writes into the table `audit`.
const BEGIN: &str = "BEGIN; INSERT INTO audit VALUES ('foreign')";

fn with_audit() -> Schema {
    let schema = Schema::new();
    schema.store();
    schema.run("CREATE TABLE audit (what text)");
    schema
}

/// The number of rows that foreign transactions have committed.
fn audited(schema: &Schema) -> i64 {
    let sql = "SELECT count(*) FROM audit";
    schema.client().query_one(sql, &[]).unwrap().get(0)
}

/// A store with a single client, and one with a pool of one connection.
fn stores(schema: &Schema) -> [PostgresStore; 2] {
    [
        schema.builder().from_client(schema.client()),
        schema.builder().from_pool(schema.pool(1)),
    ]
}

#[test]
fn a_transaction_that_with_client_leaves_open_is_rolled_back() {
    let schema = with_audit();
    for store in stores(&schema) {
        for (name, verb) in VERBS {
            let key = store.generate_with(of_owner("crab")).unwrap();
            let begun = store.with_client(|client| client.batch_execute(BEGIN));
            begun.unwrap().unwrap();
            verb(&store, &key).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            // Others see what the store has written, and not what the transaction has written.
            let new = store.generate(None, None).unwrap();
            assert_eq!(schema.count(&format!("session_key = '{new}'")), 1, "{name}");
            assert_eq!(audited(&schema), 0, "{name}");
        }
        let begun = store.with_client(|client| client.batch_execute(BEGIN));
        begun.unwrap().unwrap();
        store.create_table().unwrap();
        store.check().unwrap();
        store.prune(1).unwrap();
        let begun = store.with_client(|client| client.batch_execute(BEGIN));
        begun.unwrap().unwrap();
        store.transaction(|_| Ok::<_, Error>(())).unwrap();
        assert_eq!(audited(&schema), 0);
    }
}

#[test]
fn a_table_is_created_and_committed_after_a_transaction_was_left_open() {
    let schema = Schema::new();
    for store in stores(&schema) {
        schema.run("DROP TABLE IF EXISTS session, audit; CREATE TABLE audit (what text)");
        let begun = store.with_client(|client| client.batch_execute(BEGIN));
        begun.unwrap().unwrap();
        store.create_table().unwrap();
        assert_eq!(schema.count("true"), 0);
        assert_eq!(audited(&schema), 0);
    }
}

#[test]
fn a_transaction_that_with_client_leaves_aborted_or_open_by_a_panic_is_rolled_back() {
    let schema = with_audit();
    for store in stores(&schema) {
        let key = store.generate(Some("lobster"), None).unwrap();
        let failed = store.with_client(|client| {
            client.batch_execute(BEGIN).unwrap();
            client.batch_execute("SELECT 1 / 0")
        });
        assert!(failed.unwrap().is_err());
        store.update(&key, None, &mut |_| None).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            store.with_client(|client| {
                client.batch_execute(BEGIN).unwrap();
                panic!("in the middle");
            })
        }));
        assert!(panicked.is_err());
        store.update(&key, None, &mut |_| None).unwrap();
        store.set(&key, "crab", None).unwrap();
        assert_eq!(schema.count("session_data = 'crab'"), 1);
        assert_eq!(audited(&schema), 0);
        store.clear(&key).unwrap();
    }
}

#[test]
fn a_committed_transaction_of_with_client_stays_committed() {
    let schema = with_audit();
    for (number, store) in stores(&schema).into_iter().enumerate() {
        let done = store.with_client(|client| {
            let mut transaction = client.transaction()?;
            transaction.batch_execute("INSERT INTO audit VALUES ('own')")?;
            transaction.commit()
        });
        done.unwrap().unwrap();
        assert_eq!(audited(&schema), number as i64 + 1);
    }
}

fn foreign(schema: &Schema, sql: &str) -> Client {
    let mut client = schema.client();
    let _ = client.batch_execute(sql);
    client
}

#[test]
fn an_update_refuses_to_become_part_of_a_foreign_transaction() {
    let schema = with_audit();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let client = foreign(&schema, BEGIN);
    let store = schema.builder().from_client(client);
    for _ in 0..2 {
        let result = store.update(&key, None, &mut |_| Some("crab".into()));
        let Err(Error::Database(error)) = result else {
            panic!("{result:?}");
        };
        assert!(error.message().contains("a transaction is open"), "{error}");
    }
    // The transaction was neither ended nor aborted: the store's only client still sees its row.
    let seen = store.with_client(|client| {
        let row = client.query_one("SELECT count(*) FROM audit", &[]).unwrap();
        row.get::<_, i64>(0)
    });
    assert_eq!(seen.unwrap(), 1);
    assert_eq!(audited(&schema), 0);
    assert_eq!(schema.store().get(&key).unwrap().value, "lobster");
}

#[test]
fn a_transaction_of_the_store_refuses_to_become_part_of_a_foreign_one() {
    let schema = with_audit();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let store = schema.builder().from_client(foreign(&schema, BEGIN));
    let result = store.transaction(|tx| tx.set(&key, "crab", None));
    assert!(matches!(result, Err(Error::Database(_))), "{result:?}");
    assert_eq!(audited(&schema), 0);
    assert_eq!(schema.store().get(&key).unwrap().value, "lobster");
}

/// Begins a transaction and aborts it.
const ABORT: &str = "BEGIN; INSERT INTO audit VALUES ('foreign'); SELECT 1 / 0";

#[test]
fn every_verb_recovers_from_an_aborted_transaction_on_a_connection_of_the_pool() {
    let schema = with_audit();
    for prepared in [true, false] {
        let pool = schema.pool(1);
        let abort = || drop(pool.get().unwrap().batch_execute(ABORT));
        let store = schema.builder().prepared(prepared).from_pool(pool.clone());
        for (name, verb) in VERBS {
            let key = store.generate_with(of_owner("crab")).unwrap();
            // The first time, statements may be prepared in the aborted transaction.
            for _ in 0..2 {
                abort();
                let done = verb(&store, &key);
                if name != "clear" {
                    done.unwrap_or_else(|e| panic!("{name}: {e:?}"));
                }
            }
        }
        abort();
        store.create_table().unwrap();
        abort();
        store.check().unwrap();
        abort();
        store.prune(1).unwrap();
        assert_eq!(audited(&schema), 0);
    }
}

#[test]
fn every_verb_recovers_from_an_aborted_transaction_on_a_single_client() {
    let schema = with_audit();
    for (name, verb) in VERBS {
        let key = schema.store().generate_with(of_owner("crab")).unwrap();
        let store = schema.builder().from_client(foreign(&schema, ABORT));
        verb(&store, &key).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let new: Key = store.generate(None, None).unwrap();
        assert_eq!(schema.count(&format!("session_key = '{new}'")), 1, "{name}");
    }
    assert_eq!(audited(&schema), 0);
}

#[test]
fn a_transaction_of_the_store_recovers_from_an_aborted_one() {
    let schema = with_audit();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let store = schema.builder().from_client(foreign(&schema, ABORT));
    store.transaction(|tx| tx.set(&key, "crab", None)).unwrap();
    assert_eq!(schema.store().get(&key).unwrap().value, "crab");
    let store = schema.builder().from_client(foreign(&schema, ABORT));
    let one = store.with_client(|client| client.query_one("SELECT 1", &[]));
    one.unwrap().unwrap();
    assert_eq!(audited(&schema), 0);
}
