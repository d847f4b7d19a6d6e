//! Calls that wait for a locked row. Their results depend on the row after the wait.

use std::{thread, time::SystemTime};

use session_postgres::{
    Error, Key, Period, PostgresStore, Store,
    postgres::{Client, GenericClient, Transaction},
};

use crate::support::{
    database::{Schema, lock, pid},
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

/// Runs each verb for a locked session with this period, on both tables.
///
/// `meanwhile` runs while the verb waits. It gets the transaction that holds the lock, and must end it.
/// `check` gets the result of the verb.
fn while_locked(
    period: Period,
    meanwhile: impl Fn(Transaction<'_>, &Key) + Sync,
    check: impl Fn(&str, &PostgresStore, &Key, Result<(), Error>) + Sync,
) {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        while_locked_in(&schema, period, &meanwhile, &check);
    }
}

/// The same, on the table of this schema.
fn while_locked_in(
    schema: &Schema,
    period: Period,
    meanwhile: impl Fn(Transaction<'_>, &Key) + Sync,
    check: impl Fn(&str, &PostgresStore, &Key, Result<(), Error>) + Sync,
) {
    let wait = |(name, verb): &Verb| {
        let store = schema.builder().from_client(schema.client());
        let pid = pid(&store);
        let (mut holder, mut watcher) = (schema.client(), schema.client());
        let key = store.generate(Some("lobster"), Some(period)).unwrap();
        let transaction = lock(&mut holder, &key);
        let result = thread::scope(|scope| {
            let call = scope.spawn(|| verb(&store, &key));
            wait_until("the call to wait for the row", || {
                is_waiting(&mut watcher, pid)
            });
            meanwhile(transaction, &key);
            call.join().unwrap()
        });
        check(name, &store, &key, result);
    };
    thread::scope(|scope| {
        for verb in &VERBS {
            scope.spawn(|| wait(verb));
        }
    });
}

/// Whether this server process waits for a lock.
fn is_waiting(client: &mut Client, pid: i32) -> bool {
    let sql = "SELECT cardinality(pg_blocking_pids($1)) > 0";
    client.query_one(sql, &[&pid]).unwrap().get(0)
}

/// Waits until the server's clock has passed this date.
fn wait_for_date(client: &mut impl GenericClient, date: SystemTime) {
    wait_until("the session's expiry date to pass", || {
        let sql = "SELECT clock_timestamp() > $1";
        client.query_one(sql, &[&date]).unwrap().get(0)
    });
}

fn expire_date(client: &mut impl GenericClient, key: &Key) -> SystemTime {
    let sql = "SELECT expire_date FROM session WHERE session_key = $1";
    client.query_one(sql, &[&key.as_str()]).unwrap().get(0)
}

#[test]
fn a_session_that_expires_during_the_wait_is_not_found() {
    expires_during_the_wait(Period::seconds(1));
}

/// A session with more than ten seconds left is first written by a statement that must not wait for the lock.
#[test]
fn a_session_that_expires_during_a_long_wait_is_not_found() {
    expires_during_the_wait(Period::seconds(12));
}

fn expires_during_the_wait(period: Period) {
    while_locked(
        period,
        |mut transaction, key| {
            let date = expire_date(&mut transaction, key);
            wait_for_date(&mut transaction, date);
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
        Period::seconds(3),
        |mut transaction, key| {
            let date = expire_date(&mut transaction, key);
            let renew = "UPDATE session SET expire_date = now() + interval '1 day' \
                         WHERE session_key = $1";
            transaction.execute(renew, &[&key.as_str()]).unwrap();
            wait_for_date(&mut transaction, date);
            transaction.commit().unwrap();
        },
        |name, _, _, result| assert!(result.is_ok(), "{name}: {result:?}"),
    );
}

/// The server reports that as a serialization failure, after which the store repeats the call.
#[test]
fn a_session_that_moves_to_another_partition_during_the_wait_is_not_found() {
    let schema = Schema::new();
    let store = schema.builder().partitions(3).from_pool(schema.pool(1));
    store.create_table().unwrap();
    while_locked_in(
        &schema,
        Period::HOUR,
        |mut transaction, key| {
            let partition = "SELECT tableoid FROM session WHERE session_key = $1";
            let old: u32 = transaction
                .query_one(partition, &[&key.as_str()])
                .unwrap()
                .get(0);
            let rotate =
                "UPDATE session SET session_key = $2 WHERE session_key = $1 RETURNING tableoid";
            let mut key = key.clone();
            loop {
                let next = Key::generate().unwrap();
                let moved = transaction.query_one(rotate, &[&key.as_str(), &next.as_str()]);
                if moved.unwrap().get::<_, u32>(0) != old {
                    break;
                }
                key = next;
            }
            transaction.commit().unwrap();
        },
        |name, _, _, result| {
            assert!(matches!(result, Err(Error::NotFound)), "{name}: {result:?}");
        },
    );
}

#[test]
fn a_session_that_is_cleared_during_the_wait_is_not_found() {
    while_locked(
        Period::HOUR,
        |mut transaction, key| {
            let clear = "DELETE FROM session WHERE session_key = $1";
            transaction.execute(clear, &[&key.as_str()]).unwrap();
            transaction.commit().unwrap();
        },
        |name, _, _, result| {
            assert!(matches!(result, Err(Error::NotFound)), "{name}: {result:?}");
        },
    );
}
