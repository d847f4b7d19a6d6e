//! Effects of a transaction: its commit and its rollback.

use std::{
    error::Error as StdError,
    panic::{AssertUnwindSafe, catch_unwind},
};

use session_postgres::{Error, Key, Period, PostgresStore, SessionFields, Store};

use super::{Users, WRITES, change, change_to, rows, session};
use crate::support::{database::Schema, verbs::of_owner};

#[test]
fn every_write_takes_effect_at_the_commit_of_the_caller_and_not_after_a_rollback() {
    let schema = Schema::new();
    let store = schema.store();
    let mut client = schema.client();
    for (name, write) in WRITES {
        let key = session(&store);
        let before = rows(&schema);
        for commits in [false, true] {
            let mut transaction = client.transaction().unwrap();
            write(&mut store.in_transaction(&mut transaction), &key).unwrap();
            assert_eq!(rows(&schema), before, "{name}");
            if commits {
                transaction.commit().unwrap();
            } else {
                transaction.rollback().unwrap();
            }
            assert_eq!(rows(&schema) != before, commits, "{name}");
        }
    }
}

#[test]
fn a_transaction_of_the_store_commits_after_ok_and_rolls_back_after_an_error() {
    let schema = Schema::new();
    let single = schema.builder().from_client(schema.client());
    for store in [schema.store(), single] {
        for (name, write) in WRITES {
            let key = session(&store);
            let before = rows(&schema);
            let error = store.transaction(|tx| {
                write(tx, &key)?;
                Err::<(), _>(Error::other("a change of mind"))
            });
            assert_eq!(error.unwrap_err().to_string(), "a change of mind");
            assert_eq!(rows(&schema), before, "{name}");
            let done = store.transaction(|tx| {
                write(tx, &key)?;
                assert_eq!(rows(&schema), before, "{name}");
                Ok::<_, Error>("done")
            });
            assert_eq!(done.unwrap(), "done");
            assert_ne!(rows(&schema), before, "{name}");
        }
    }
}

#[test]
fn calls_in_a_transaction_see_its_writes_and_others_do_not() {
    let schema = Schema::new();
    let store = schema.store();
    let old = session(&store);
    store
        .transaction(|tx| {
            tx.set(&old, "crab", None)?;
            assert_eq!(tx.get(&old)?.value, "crab");
            assert_eq!(store.get(&old)?.value, "lobster");
            let new = tx.rotate_with(&old, of_owner("user 43"))?;
            assert!(tx.find(&old)?.is_none());
            assert!(tx.find(&new)?.is_some());
            assert!(store.find(&old)?.is_some());
            assert_eq!(tx.owned("user 43")?[0].handle, new.handle());
            assert!(tx.owned("user 42")?.is_empty());
            assert_eq!(store.owned("user 42")?.len(), 1);
            assert!(!tx.clear_handle("user 42", &new.handle())?);
            assert!(tx.clear_handle("user 43", &new.handle())?);
            assert!(matches!(tx.renew(&new, None), Err(Error::NotFound)));
            let keys = [
                tx.generate_with(of_owner("user 44"))?,
                tx.generate(None, None)?,
            ];
            tx.set_owner(&keys[1], Some("user 44"))?;
            assert_eq!(tx.clear_owned("user 44", Some(&keys[0]))?, 1);
            assert!(tx.find(&keys[1])?.is_none());
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(schema.count("true"), 1);
}

#[test]
fn an_address_is_changed_in_both_tables_or_in_neither() {
    let users = Users::new();
    let store = users.schema.store();
    let error = store.transaction(|tx| {
        change(tx, &users.key)?;
        tx.set(&Key::generate()?, "absent", None)
    });
    assert!(matches!(error, Err(Error::NotFound)), "{error:?}");
    users.assert_old("an absent session");
    let error = store.transaction(|tx| change_to("taken", tx, &users.key));
    assert_eq!(error.unwrap_err().sqlstate().unwrap().code(), "23505");
    users.assert_old("a constraint that is checked at the commit");
    store.transaction(|tx| change(tx, &users.key)).unwrap();
    users.assert_new("a commit");
}

#[test]
fn a_panic_rolls_back() {
    let users = Users::new();
    let single = users.schema.builder().from_client(users.schema.client());
    for store in [users.schema.store(), single] {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            store.transaction(|tx| -> Result<(), Error> {
                change(tx, &users.key)?;
                panic!("in the middle");
            })
        }));
        assert!(panicked.is_err());
        users.assert_old("a panic");
        // The connection can be used again, also for an update, which needs a transaction of its own.
        store.update(&users.key, None, &mut |_| None).unwrap();
    }
}

#[test]
fn a_failed_statement_whose_error_is_ignored_is_not_a_success() {
    let users = Users::new();
    let single = users.schema.builder().from_client(users.schema.client());
    users
        .schema
        .run("ALTER TABLE session ADD CHECK (session_data <> 'bad')");
    for store in [users.schema.store(), single] {
        let of_the_caller = store.transaction(|tx| {
            change(tx, &users.key)?;
            assert!(tx.execute("SELECT 1 / 0", &[]).is_err());
            Ok::<_, Error>(())
        });
        let of_the_store = store.transaction(|tx| {
            change(tx, &users.key)?;
            assert!(tx.set(&users.key, "bad", None).is_err());
            // The transaction is aborted.
            assert!(matches!(tx.get(&users.key), Err(Error::Database(_))));
            Ok::<_, Error>(())
        });
        for result in [of_the_caller, of_the_store] {
            assert_eq!(result.unwrap_err().sqlstate().unwrap().code(), "25P02");
        }
        users.assert_old("an ignored error");
        store.update(&users.key, None, &mut |_| None).unwrap();
    }
}

#[test]
fn a_savepoint_that_is_rolled_back_keeps_the_rest() {
    let users = Users::new();
    let store = users.schema.store();
    store
        .transaction(|tx| {
            change(tx, &users.key)?;
            let mut savepoint = tx.transaction()?;
            store
                .in_transaction(&mut savepoint)
                .set(&users.key, "newer", None)?;
            assert!(savepoint.execute("SELECT 1 / 0", &[]).is_err());
            savepoint.rollback()?;
            Ok::<_, Error>(())
        })
        .unwrap();
    users.assert_new("a savepoint");
}

type Rejected =
    fn(&mut session_postgres::SessionTransaction<'_, '_>, [&Key; 3]) -> Result<(), Error>;

/// Calls that fail without an error of the server. They get the keys of a session, of an unset session and of none.
const REJECTED: [Rejected; 17] = [
    |tx, [_, _, absent]| tx.get(absent).map(drop),
    |tx, [_, unset, _]| tx.get(unset).map(drop),
    |tx, [_, _, absent]| tx.renew(absent, None).map(drop),
    |tx, [_, _, absent]| tx.set(absent, "x", None),
    |tx, [key, _, _]| tx.set(key, "\0", None),
    |tx, [key, _, _]| tx.touch(key, Some(Period::MAX)),
    |tx, [_, _, absent]| tx.touch(absent, None),
    |tx, [key, _, _]| tx.insert(key, None, None),
    |tx, [_, _, absent]| tx.update(absent, None, |_| None).map(drop),
    |tx, [_, unset, _]| tx.update(unset, None, |_| None).map(drop),
    |tx, [key, _, _]| tx.update(key, None, |_| Some("\0".to_owned())).map(drop),
    |tx, [_, _, absent]| tx.rotate(absent).map(drop),
    |tx, [key, unset, _]| tx.rotate_to(key, unset, SessionFields::default()),
    |tx, [_, unset, absent]| tx.rotate_to(absent, unset, SessionFields::default()),
    |tx, [_, _, absent]| tx.set_owner(absent, None),
    |tx, [key, _, _]| tx.set_owner(key, Some("")),
    |tx, _| tx.owned("").map(drop),
];

#[test]
fn an_error_that_is_not_from_the_server_does_not_abort_the_transaction() {
    let schema = Schema::new();
    let store = schema.store();
    let key = session(&store);
    let unset = store.generate(None, None).unwrap();
    let absent = Key::generate().unwrap();
    store
        .transaction(|tx| {
            for (number, call) in REJECTED.into_iter().enumerate() {
                let error = call(tx, [&key, &unset, &absent]).unwrap_err();
                assert!(error.sqlstate().is_none(), "{number}: {error:?}");
            }
            tx.set(&key, "crab", None)
        })
        .unwrap();
    assert_eq!(store.get(&key).unwrap().value, "crab");
    assert_eq!(schema.count("true"), 2);
}

#[test]
fn an_expired_session_is_absent_in_a_transaction_and_its_key_may_be_inserted() {
    let schema = Schema::new();
    let store = schema.store();
    let expired = store.generate(Some("old"), Some(Period::ZERO)).unwrap();
    store
        .transaction(|tx| {
            assert!(tx.find(&expired)?.is_none());
            assert!(matches!(tx.set(&expired, "x", None), Err(Error::NotFound)));
            assert!(matches!(tx.rotate(&expired), Err(Error::NotFound)));
            tx.insert(&expired, Some("new"), None)?;
            assert!(matches!(
                tx.insert(&expired, None, None),
                Err(Error::KeyExists)
            ));
            // It expires within the transaction, whose own time stands still.
            tx.touch(&expired, Some(Period::milliseconds(20)))?;
            tx.batch_execute("SELECT pg_sleep(0.1)")?;
            assert!(tx.find(&expired)?.is_none());
            assert!(matches!(tx.touch(&expired, None), Err(Error::NotFound)));
            Ok::<_, Error>(())
        })
        .unwrap();
}

#[test]
fn the_closure_may_have_an_error_of_its_own_and_is_executed_once() {
    let users = Users::new();
    let store = users.schema.store();
    let mut executed = 0;
    let result = store.transaction(|tx| -> Result<(), Box<dyn StdError>> {
        executed += 1;
        change(tx, &users.key)?;
        "x".parse::<u8>()?;
        Ok(())
    });
    assert!(result.unwrap_err().is::<std::num::ParseIntError>());
    assert_eq!(executed, 1);
    users.assert_old("an error of the caller");

    // An error of the store is converted to the caller's type.
    let busy = users.schema.pool(1);
    let hold = busy.get().unwrap();
    let builder = users.schema.builder();
    let busy: PostgresStore = builder
        .timeout(std::time::Duration::from_millis(50))
        .from_pool(busy.clone());
    let result = busy.transaction(|_| -> Result<(), Box<dyn StdError>> {
        unreachable!("there is no connection")
    });
    let error = result.unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(*error, Error::TimedOut { .. }), "{error:?}");
    drop(hold);
}
