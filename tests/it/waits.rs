//! Calls that wait for a row while its time runs: what counts is how the row is after the wait.

use std::thread;

use session_postgres::{
    Error, Key, Period, PostgresStore, Store,
    postgres::{Client, Transaction},
};

use crate::support::{
    database::{ORIGINAL, Schema},
    wait_until,
};

type Verb = (&'static str, fn(&PostgresStore, &Key) -> Result<(), Error>);

const VERBS: [Verb; 6] = [
    ("set", |store, key| store.set(key, "crab", None)),
    ("touch", |store, key| store.touch(key, None)),
    ("rotate", |store, key| store.rotate(key).map(drop)),
    ("update", |store, key| {
        store.update(key, None, &mut |_| None).map(drop)
    }),
    ("set_many", |store, key| {
        store.set_many(&[(key, "crab", None)]).pop().unwrap()
    }),
    ("touch_many", |store, key| {
        store.touch_many(&[(key, None)]).pop().unwrap()
    }),
];

/// Runs each verb on a session of `life`, on either table, while somebody holds the row's lock.
/// `meanwhile` is what they do with the row until the verb may go on.
fn while_locked(
    life: Period,
    meanwhile: impl Fn(Transaction<'_>),
    check: impl Fn(&str, &PostgresStore, &Key, Result<(), Error>),
) {
    for legacy in [false, true] {
        let schema = Schema::new();
        if legacy {
            schema.run(ORIGINAL);
        }
        let store = schema.builder().from_client(schema.client());
        store.create_table().unwrap();
        let pid: i32 = store
            .with_client(|client| {
                client
                    .query_one("SELECT pg_backend_pid()", &[])
                    .unwrap()
                    .get(0)
            })
            .unwrap();
        let mut holder = schema.client();
        let mut watcher = schema.client();
        for (name, verb) in VERBS {
            let key = store.generate(Some("lobster"), Some(life)).unwrap();
            let mut transaction = holder.transaction().unwrap();
            let lock = "SELECT FROM session WHERE session_key = $1 FOR UPDATE";
            assert_eq!(
                transaction.execute(lock, &[&key.as_str()]).unwrap(),
                1,
                "{name}"
            );
            let result = thread::scope(|scope| {
                let call = scope.spawn(|| verb(&store, &key));
                wait_until("the call to wait for the row", || {
                    is_waiting(&mut watcher, pid)
                });
                meanwhile(transaction);
                call.join().unwrap()
            });
            check(name, &store, &key, result);
        }
    }
}

fn is_waiting(client: &mut Client, pid: i32) -> bool {
    let sql = "SELECT cardinality(pg_blocking_pids($1)) > 0";
    client.query_one(sql, &[&pid]).unwrap().get(0)
}

/// Waits until every session of a second's life is over.
fn let_it_expire(transaction: &mut Transaction<'_>) {
    wait_until("the session to expire", || {
        let sql = "SELECT count(*) FROM session WHERE expire_date > clock_timestamp() \
                   AND expire_date < clock_timestamp() + interval '1 minute'";
        transaction.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 0
    });
}

#[test]
fn a_session_that_expires_during_the_wait_is_not_found() {
    while_locked(
        Period::seconds(1),
        |mut transaction| {
            let_it_expire(&mut transaction);
            transaction.rollback().unwrap();
        },
        |name, store, key, result| {
            assert!(matches!(result, Err(Error::NotFound)), "{name}: {result:?}");
            assert!(matches!(store.get(key), Err(Error::NotFound)), "{name}");
        },
    );
}

#[test]
fn a_session_that_is_renewed_during_the_wait_is_found() {
    while_locked(
        Period::seconds(1),
        |mut transaction| {
            let renew = "UPDATE session SET expire_date = clock_timestamp() + interval '1 day' \
                         WHERE expire_date < clock_timestamp() + interval '1 minute'";
            transaction.execute(renew, &[]).unwrap();
            // Longer than its first life was.
            let sql = "SELECT pg_sleep(1.1)";
            transaction.execute(sql, &[]).unwrap();
            transaction.commit().unwrap();
        },
        |name, _, _, result| assert!(result.is_ok(), "{name}: {result:?}"),
    );
}

#[test]
fn a_session_that_is_cleared_during_the_wait_is_not_found() {
    while_locked(
        Period::HOUR,
        |mut transaction| {
            transaction.execute("DELETE FROM session", &[]).unwrap();
            transaction.commit().unwrap();
        },
        |name, _, _, result| {
            assert!(matches!(result, Err(Error::NotFound)), "{name}: {result:?}");
        },
    );
}
