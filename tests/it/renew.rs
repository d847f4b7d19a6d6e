//! `renew`: when it writes, and what it does next to other calls.

use std::{sync::Barrier, thread};

use session_postgres::{
    Error, Key, Period, PostgresStore, SessionFields, Store, postgres::Transaction,
};

use crate::support::{
    database::{OCAML_TABLE, Schema, lock},
    key,
    proxy::{Break, Proxy},
};

/// The versions of all rows, which each write and each lock changes.
fn versions(schema: &Schema) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', ctid, xmin, xmax) FROM session ORDER BY ctid";
    let rows = schema.client().query(sql, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Whether the transaction has a number, which it gets with its first write or row lock.
fn has_written(transaction: &mut Transaction<'_>) -> bool {
    let sql = "SELECT txid_current_if_assigned() IS NOT NULL";
    transaction.query_one(sql, &[]).unwrap().get(0)
}

/// A renewal alone, in a batch and in a transaction. They return the session.
type Renew = fn(&PostgresStore, &Key, Period) -> session_postgres::Session;

const RENEWALS: [Renew; 3] = [
    |store, key, period| store.renew(key, Some(period)).unwrap(),
    |store, key, period| {
        let absent = Key::generate().unwrap();
        let calls = [
            (&absent, None),
            (key, Some(period)),
            (key, Some(Period::ZERO)),
        ];
        let [none, first, second] = store.renew_many(&calls).try_into().unwrap();
        assert!(matches!(none, Err(Error::NotFound)));
        assert_eq!(second.unwrap().value, "lobster");
        first.unwrap()
    },
    |store, key, period| {
        let done = store.transaction(|tx| tx.renew(key, Some(period)));
        done.unwrap()
    },
];

#[test]
fn a_renewal_writes_only_after_a_tenth_of_the_period_and_never_shortens() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        let store = schema.builder().from_pool(schema.pool(1));
        for renew in RENEWALS {
            let made = store.generate(Some("lobster"), Some(Period::hours(10)));
            let key = made.unwrap();
            let before = versions(&schema);
            for hours in [11, 10, 5, 1, 0, -1] {
                let session = renew(&store, &key, Period::hours(hours));
                assert_eq!(session.value, "lobster");
                assert!(session.period > Period::minutes(595), "{hours} h");
                assert_eq!(versions(&schema), before, "{hours} h");
            }
            for hours in [12, 24] {
                let before = versions(&schema);
                let session = renew(&store, &key, Period::hours(hours));
                assert_eq!(session.value, "lobster");
                assert!(
                    session.period > Period::minutes(hours * 60 - 5),
                    "{hours} h"
                );
                // The table rounds to hundredths of a second.
                assert!(
                    session.period < Period::hours(hours) + Period::SECOND,
                    "{hours} h"
                );
                assert_ne!(versions(&schema), before, "{hours} h");
                assert_eq!(store.get(&key).unwrap().value, "lobster");
            }
            store.clear(&key).unwrap();
        }
    }
}

#[test]
fn a_renewal_that_is_not_due_takes_no_transaction_number() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate(Some("lobster"), Some(Period::HOUR)).unwrap();
    let mut client = schema.client();
    let mut transaction = client.transaction().unwrap();
    let mut renew = |period| {
        let mut calls = store.in_transaction(&mut transaction);
        calls.renew(&key, Some(period)).unwrap();
        has_written(&mut transaction)
    };
    assert!(!renew(Period::HOUR));
    assert!(renew(Period::HOUR * 2));
}

#[test]
fn the_part_of_the_period_that_must_have_passed_is_an_option() {
    let schema = Schema::new();
    schema.store();
    for (fraction, period, is_due) in [
        (0.0, 61, true),
        (0.0, 60, true),
        (0.5, 119, false),
        (0.5, 121, true),
        (1.0, 1_000_000, false),
    ] {
        let builder = schema.builder().renew_after(fraction);
        let store = builder.from_pool(schema.pool(1));
        let key = store.generate(Some("lobster"), Some(Period::HOUR)).unwrap();
        let before = versions(&schema);
        store.renew(&key, Some(Period::minutes(period))).unwrap();
        assert_eq!(versions(&schema) != before, is_due, "{fraction}, {period}");
        store.clear(&key).unwrap();
    }
}

#[test]
fn a_batch_writes_only_the_sessions_that_are_due() {
    let schema = Schema::new();
    let store = schema.store();
    let periods = [1, 10, 1, 10].map(|hours| Some(Period::hours(hours)));
    let made = store.generate_many(&periods.map(|period| SessionFields::new(Some("x"), period)));
    let keys: Vec<Key> = made.into_iter().map(Result::unwrap).collect();
    let xmin = |key: &Key| -> String {
        let sql = "SELECT xmin::text FROM session WHERE session_key = $1";
        let row = schema.client().query_one(sql, &[&key.as_str()]).unwrap();
        row.get(0)
    };
    let before: Vec<_> = keys.iter().map(xmin).collect();
    let calls: Vec<_> = keys
        .iter()
        .map(|key| (key, Some(Period::hours(10))))
        .collect();
    for session in store.renew_many(&calls) {
        assert!(session.unwrap().period > Period::minutes(595));
    }
    let after: Vec<_> = keys.iter().map(xmin).collect();
    let written: Vec<_> = before.iter().zip(&after).map(|(a, b)| a != b).collect();
    assert_eq!(written, [true, false, true, false]);
}

#[test]
fn a_locked_session_is_returned_at_once_and_not_renewed() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        let store = schema.builder().from_pool(schema.pool(1));
        let [locked, free] = [(); 2].map(|()| {
            let made = store.generate(Some("lobster"), Some(Period::HOUR));
            made.unwrap()
        });
        let mut holder = schema.client();
        let transaction = lock(&mut holder, &locked);
        // A call that waited would fail at the timeout of the store.
        let session = store.renew(&locked, None).unwrap();
        assert_eq!(session.value, "lobster");
        assert!(session.period <= Period::HOUR);
        let both = store.renew_many(&[(&locked, None), (&free, None)]);
        assert!(both[0].as_ref().unwrap().period <= Period::HOUR);
        assert!(both[1].as_ref().unwrap().period > Period::DAY);
        transaction.rollback().unwrap();
        assert!(store.renew(&locked, None).unwrap().period > Period::DAY);
    }
}

/// Without a unique index, another transaction may have locked only one of several rows.
#[test]
fn a_renewal_does_not_wait_for_one_of_the_rows_of_a_key() {
    let schema = Schema::new();
    schema.run(OCAML_TABLE);
    schema.run(
        "INSERT INTO session VALUES ('twice', now() + interval '1 hour', 'a'), \
             ('twice', now() + interval '2 hours', 'b')",
    );
    let builder = schema.builder().timeout(std::time::Duration::from_secs(5));
    let store = builder.from_pool(schema.pool(1));
    let twice = key("twice");
    let mut holder = schema.client();
    let mut transaction = holder.transaction().unwrap();
    let sql = "SELECT FROM session WHERE session_data = 'a' FOR UPDATE";
    assert_eq!(transaction.execute(sql, &[]).unwrap(), 1);
    assert_eq!(store.renew(&twice, None).unwrap().value, "b");
    transaction.rollback().unwrap();
    assert!(store.renew(&twice, None).unwrap().period > Period::DAY);
}

#[test]
fn the_check_of_a_foreign_key_does_not_prevent_a_renewal() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate(Some("lobster"), Some(Period::HOUR)).unwrap();
    let mut holder = schema.client();
    let mut transaction = holder.transaction().unwrap();
    let sql = "SELECT FROM session FOR KEY SHARE";
    assert_eq!(transaction.execute(sql, &[]).unwrap(), 1);
    assert!(store.renew(&key, None).unwrap().period > Period::DAY);
}

type End = fn(&PostgresStore, &Key);

const ENDS: [End; 3] = [
    |store, key| store.clear(key).unwrap(),
    |store, key| store.touch(key, Some(Period::ZERO)).unwrap(),
    |store, key| store.set(key, "over", Some(Period::ZERO)).unwrap(),
];

#[test]
fn a_session_that_ends_at_the_same_time_is_not_revived() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        let store = schema.builder().from_pool(schema.pool(3));
        for end in ENDS {
            for _ in 0..60 {
                let made = store.generate(Some("lobster"), Some(Period::HOUR));
                let key = made.unwrap();
                let start = Barrier::new(3);
                thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| {
                            start.wait();
                            match store.renew(&key, None) {
                                Ok(session) => assert_ne!(session.value, "over"),
                                Err(error) => {
                                    assert!(matches!(error, Error::NotFound), "{error:?}")
                                }
                            }
                        });
                    }
                    start.wait();
                    end(&store, &key);
                });
                assert!(store.find(&key).unwrap().is_none());
                assert!(matches!(store.renew(&key, None), Err(Error::NotFound)));
            }
        }
    }
}

#[test]
fn a_renewal_that_is_cut_returns_the_session_and_renews_it() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        let proxy = Proxy::to(&schema.config());
        let pool = schema.pool_to(proxy.config(&schema.config()), 1);
        let store = schema.builder().from_pool(pool);
        for cut in [Break::BeforeStatement, Break::AfterStatement] {
            let keys = [(); 2].map(|()| {
                let made = store.generate(Some("lobster"), Some(Period::HOUR));
                made.unwrap()
            });
            // On a new connection, the store itself sends the first statement.
            store.get(&keys[0]).unwrap();
            proxy.break_at(cut);
            assert!(store.renew(&keys[0], None).unwrap().period > Period::DAY);
            assert!(proxy.has_broken());
            store.get(&keys[0]).unwrap();
            proxy.break_at(cut);
            let both = store.renew_many(&keys.each_ref().map(|key| (key, None)));
            assert!(proxy.has_broken());
            assert!(
                both.iter()
                    .all(|session| session.as_ref().unwrap().period > Period::DAY)
            );
            assert!(store.get(&keys[1]).unwrap().period > Period::DAY);
        }
    }
}
