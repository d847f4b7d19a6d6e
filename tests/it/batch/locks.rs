//! Batches with sessions that other transactions lock.

use std::thread;

use session_postgres::{Error, Key, Period, PostgresStore, Store};

use super::generated;
use crate::support::{
    database::{Schema, lock},
    wait_until,
};

#[test]
fn a_timeout_of_the_server_fails_only_the_call_for_the_locked_row() {
    const LOCKED: usize = 100;
    for (timeout, code) in [
        ("lock_timeout = '50ms'", "55P03"),
        ("statement_timeout = '200ms'", "57014"),
    ] {
        let schema = Schema::new();
        let keys = generated(&schema.store(), 256);
        let mut client = schema.client();
        client.batch_execute(&format!("SET {timeout}")).unwrap();
        let store = schema.builder().from_client(client);
        let mut holder = schema.client();
        let _locked = lock(&mut holder, &keys[LOCKED]);
        let calls: Vec<_> = keys.iter().map(|key| (key, "new", None)).collect();
        let mut results = store.set_many(&calls);
        let error = results.remove(LOCKED).unwrap_err();
        assert_eq!(error.sqlstate().unwrap().code(), code, "{error}");
        assert!(results.iter().all(Result::is_ok), "{timeout}: {results:?}");
        assert_eq!(schema.count("session_data = 'new'"), 255);
    }
}

#[test]
fn calls_for_other_rows_do_not_wait_for_a_locked_row() {
    type Many = fn(&PostgresStore, &[&Key]) -> Vec<Result<(), Error>>;
    let verbs: [(Many, &str); 3] = [
        (
            |store, keys| {
                let calls: Vec<_> = keys.iter().map(|key| (*key, "new", None)).collect();
                store.set_many(&calls)
            },
            "session_data = 'new'",
        ),
        (
            |store, keys| {
                let calls: Vec<_> = keys.iter().map(|key| (*key, Some(Period::HOUR))).collect();
                store.touch_many(&calls)
            },
            "expire_date < now() + interval '1 day'",
        ),
        (|store, keys| store.clear_many(keys), "false"),
    ];
    for (many, done) in verbs {
        let schema = Schema::new();
        let store = schema.store();
        let keys = generated(&store, 40);
        let keys: Vec<_> = keys.iter().collect();
        let mut holder = schema.client();
        let locked = lock(&mut holder, keys[20]);
        let left = format!("({done}) IS NOT TRUE");
        thread::scope(|scope| {
            let call = scope.spawn(|| many(&store, &keys));
            wait_until("all others are done", || schema.count(&left) == 1);
            assert!(!call.is_finished());
            locked.rollback().unwrap();
            let results = call.join().unwrap();
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        });
        assert_eq!(schema.count(&left), 0);
    }
}

/// The table of OCaml's session-postgresql allows several rows with the same key.
#[test]
fn a_session_with_several_rows_is_locked_if_one_row_is() {
    type Many = fn(&PostgresStore, [&Key; 2]) -> Vec<Result<(), Error>>;
    let verbs: [Many; 3] = [
        |store, keys| store.try_set_many(&keys.map(|key| (key, "new", None))),
        |store, keys| store.try_touch_many(&keys.map(|key| (key, None))),
        |store, keys| store.try_clear_many(&keys),
    ];
    for verb in verbs {
        let schema = Schema::new();
        schema.create_table(true);
        let store = schema.builder().from_pool(schema.pool(1));
        let keys = generated(&store, 2);
        let copy = format!(
            "INSERT INTO session SELECT * FROM session WHERE session_key = '{}'",
            keys[0]
        );
        schema.run(&copy);
        let mut holder = schema.client();
        let mut locked = holder.transaction().unwrap();
        let lock = "SELECT FROM session WHERE ctid = (SELECT max(ctid) FROM session) FOR UPDATE";
        locked.execute(lock, &[]).unwrap();
        let results = verb(&store, [&keys[0], &keys[1]]);
        assert!(matches!(results[0], Err(Error::Locked)), "{results:?}");
        assert!(results[1].is_ok(), "{results:?}");
    }
}
