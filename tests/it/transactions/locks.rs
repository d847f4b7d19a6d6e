//! Locks that calls in a transaction wait for, and that they take.

use std::thread;

use session_postgres::{
    Error, Key, PostgresStore,
    postgres::{Client, GenericClient},
};

use super::{WRITES, rows, session};
use crate::support::{
    database::{Schema, lock},
    wait_until,
};

fn pid(client: &mut impl GenericClient) -> i32 {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).unwrap();
    row.get(0)
}

/// Calls that add a session, and a renewal, wait for no row.
fn waits(name: &str) -> bool {
    !["generate", "generate_with", "insert", "renew"].contains(&name)
}

#[test]
fn a_call_waits_for_a_row_that_another_transaction_has_locked() {
    let schema = Schema::new();
    let store = schema.store();
    let (mut client, mut holder, mut watcher) = (schema.client(), schema.client(), schema.client());
    let pid = pid(&mut client);
    for (name, write) in WRITES.into_iter().filter(|(name, _)| waits(name)) {
        let key = session(&store);
        let before = rows(&schema);
        let locked = lock(&mut holder, &key);
        thread::scope(|scope| {
            let call = scope.spawn(|| {
                let mut transaction = client.transaction().unwrap();
                write(&mut store.in_transaction(&mut transaction), &key).unwrap();
                transaction.commit().unwrap();
            });
            wait_until("the call to wait for the row", || {
                let sql = "SELECT cardinality(pg_blocking_pids($1)) > 0";
                watcher.query_one(sql, &[&pid]).unwrap().get(0)
            });
            locked.rollback().unwrap();
            call.join().unwrap();
        });
        assert_ne!(rows(&schema), before, "{name}");
    }
}

#[test]
fn a_call_waits_as_long_as_the_caller_allows() {
    let schema = Schema::new();
    let store = schema.store();
    let (mut client, mut holder) = (schema.client(), schema.client());
    for (name, write) in WRITES.into_iter().filter(|(name, _)| waits(name)) {
        let key = session(&store);
        let locked = lock(&mut holder, &key);
        let mut transaction = client.transaction().unwrap();
        let limit = "SET LOCAL lock_timeout = '10ms'";
        transaction.batch_execute(limit).unwrap();
        let result = write(&mut store.in_transaction(&mut transaction), &key);
        assert!(
            matches!(result, Err(Error::Database(_))),
            "{name}: {result:?}"
        );
        assert_eq!(result.unwrap_err().sqlstate().unwrap().code(), "55P03");
        transaction.rollback().unwrap();
        locked.rollback().unwrap();
    }
}

#[test]
fn a_renewal_does_not_wait_for_a_locked_row() {
    let schema = Schema::new();
    let store = schema.store();
    let (mut client, mut holder) = (schema.client(), schema.client());
    let key = session(&store);
    let before = rows(&schema);
    let locked = lock(&mut holder, &key);
    let mut transaction = client.transaction().unwrap();
    let limit = "SET LOCAL lock_timeout = '10s'";
    transaction.batch_execute(limit).unwrap();
    let session = store.in_transaction(&mut transaction).renew(&key, None);
    assert_eq!(session.unwrap().value, "lobster");
    transaction.commit().unwrap();
    locked.rollback().unwrap();
    assert_eq!(rows(&schema), before);
}

/// Whether another transaction gets the lock that the check of a foreign key takes.
fn can_refer(other: &mut Client, key: &Key) -> bool {
    let sql = "SELECT FROM session WHERE session_key = $1 FOR KEY SHARE NOWAIT";
    match other.execute(sql, &[&key.as_str()]) {
        Ok(rows) => rows == 1,
        Err(e) => {
            assert_eq!(e.code().unwrap().code(), "55P03", "{e}");
            false
        }
    }
}

#[test]
fn a_call_that_keeps_the_key_does_not_block_the_check_of_a_foreign_key() {
    let schema = Schema::new();
    let store = schema.store();
    let (mut client, mut other) = (schema.client(), schema.client());
    for (name, write) in WRITES.into_iter().skip(3) {
        let key = session(&store);
        let mut transaction = client.transaction().unwrap();
        write(&mut store.in_transaction(&mut transaction), &key).unwrap();
        let keeps = ["renew", "set", "touch", "update", "set_owner"].contains(&name);
        assert_eq!(can_refer(&mut other, &key), keeps, "{name}");
        transaction.rollback().unwrap();
    }
    // An update that writes nothing locks the row, too.
    let key = session(&store);
    let mut transaction = client.transaction().unwrap();
    let mut calls = store.in_transaction(&mut transaction);
    calls.update(&key, None, |_| None).unwrap();
    assert!(can_refer(&mut other, &key));
    assert!(is_locked(&mut other, &key));
}

fn is_locked(other: &mut Client, key: &Key) -> bool {
    let sql = "SELECT FROM session WHERE session_key = $1 FOR NO KEY UPDATE NOWAIT";
    other.execute(sql, &[&key.as_str()]).is_err()
}

type Read = fn(&PostgresStore, &mut session_postgres::postgres::Transaction<'_>, &Key);

#[test]
fn a_read_and_a_call_that_finds_no_session_lock_nothing() {
    let schema = Schema::new();
    let store = schema.store();
    let (mut client, mut other) = (schema.client(), schema.client());
    let key = session(&store);
    let absent = Key::generate().unwrap();
    let reads: [Read; 6] = [
        |store, tx, key| drop(store.in_transaction(tx).get(key).unwrap()),
        |store, tx, key| drop(store.in_transaction(tx).find(key).unwrap()),
        |store, tx, _| drop(store.in_transaction(tx).owned("user 42").unwrap()),
        |store, tx, key| {
            // This renewal is not due.
            let period = session_postgres::Period::HOUR;
            drop(store.in_transaction(tx).renew(key, Some(period)).unwrap());
        },
        |store, tx, _| {
            let cleared = store.in_transaction(tx).clear_owned("nobody", None);
            assert_eq!(cleared.unwrap(), 0);
        },
        |store, tx, key| {
            let handle = key.handle();
            let cleared = store.in_transaction(tx).clear_handle("nobody", &handle);
            assert!(!cleared.unwrap());
        },
    ];
    for read in reads {
        let mut transaction = client.transaction().unwrap();
        read(&store, &mut transaction, &key);
        let calls = &mut store.in_transaction(&mut transaction);
        assert!(calls.touch(&absent, None).is_err());
        assert!(calls.rotate(&absent).is_err());
        assert!(!is_locked(&mut other, &key));
        let sql = "SELECT txid_current_if_assigned() IS NULL";
        let is_read_only: bool = transaction.query_one(sql, &[]).unwrap().get(0);
        assert!(is_read_only);
    }
}
