//! Transactions and clients of the async facade.

use std::{num::ParseIntError, panic::AssertUnwindSafe, time::Duration};

use session_postgres::{
    AsyncStore, Error, Offload, OffloadBuilder, PostgresStore, Store, postgres,
};
use throwaway_postgres::Server;
use tokio::runtime::{Builder, Runtime};

use super::{Users, change};
use crate::support::{PATIENCE, database::Schema, wait_until};

fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_time().build().unwrap()
}

fn offload(users: &Users) -> Offload<PostgresStore> {
    Offload::new(users.schema.store())
}

/// An error of a program.
#[derive(Debug)]
enum Failure {
    Store(Error),
    Parse(ParseIntError),
}

fn sqlstate(failure: &Failure) -> &str {
    match failure {
        Failure::Store(error) => error.sqlstate().unwrap().code(),
        Failure::Parse(error) => panic!("{error}"),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Store(error)
    }
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Failure {
        Failure::Store(error.into())
    }
}

impl From<ParseIntError> for Failure {
    fn from(error: ParseIntError) -> Failure {
        Failure::Parse(error)
    }
}

#[test]
fn an_async_transaction_commits_after_ok_and_rolls_back_after_an_error() {
    let users = Users::new();
    let (store, runtime) = (offload(&users), runtime());
    let key = users.key.clone();
    let failed = runtime.block_on(store.transaction(move |tx| {
        change(tx, &key)?;
        "x".parse::<u8>()?;
        Ok::<_, Failure>(())
    }));
    assert!(matches!(failed, Err(Failure::Parse(_))), "{failed:?}");
    users.assert_old("an error");
    let key = users.key.clone();
    let ignored = runtime.block_on(store.transaction(move |tx| {
        change(tx, &key)?;
        assert!(tx.execute("SELECT 1 / 0", &[]).is_err());
        Ok::<_, Failure>(())
    }));
    assert_eq!(sqlstate(&ignored.unwrap_err()), "25P02");
    users.assert_old("an ignored error");
    let key = users.key.clone();
    let done = runtime.block_on(store.transaction(move |tx| {
        change(tx, &key)?;
        Ok::<_, Error>(42)
    }));
    assert_eq!(done.unwrap(), 42);
    users.assert_new("a commit");
}

#[test]
fn a_client_of_an_async_store_has_one_result_of_the_callers_type() {
    let users = Users::new();
    let (store, runtime) = (offload(&users), runtime());
    let id = runtime.block_on(store.with_client(|client| {
        let row = client.query_one("SELECT id FROM users WHERE email = 'old'", &[])?;
        Ok::<i32, Failure>(row.try_get(0)?)
    }));
    assert_eq!(id.unwrap(), 42);
    let failed = runtime.block_on(store.with_client(|client| {
        client.batch_execute("BEGIN; UPDATE users SET email = 'new'; SELECT 1 / 0")?;
        Ok::<_, Failure>(())
    }));
    assert_eq!(sqlstate(&failed.unwrap_err()), "22012");
    users.assert_old("a failed statement");
    runtime
        .block_on(store.set(&users.key, "old", None))
        .unwrap();
    // Without a runtime there is no worker.
    let outside = store.with_client(|_| Ok::<_, Failure>(()));
    let mut outside = Box::pin(outside);
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    let std::task::Poll::Ready(result) = outside.as_mut().poll(&mut context) else {
        panic!("it waits");
    };
    assert!(
        matches!(result, Err(Failure::Store(Error::NoRuntime))),
        "{result:?}"
    );
}

#[test]
fn a_call_in_a_transaction_that_waits_for_a_lock_until_the_deadline_times_out() {
    let users = Users::new();
    let builder = users.schema.builder().timeout(PATIENCE * 10);
    let store = builder.from_pool(users.schema.pool(1));
    let limit = OffloadBuilder::default().timeout(Duration::from_millis(300));
    let store = limit.build(store);
    let mut other = users.schema.client();
    let mut locked = other.transaction().unwrap();
    locked
        .execute("SELECT FROM session FOR UPDATE", &[])
        .unwrap();
    let key = users.key.clone();
    let set = store.transaction(move |tx| tx.set(&key, "new", None));
    let result = runtime().block_on(set);
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    drop(locked);
    users.assert_old("a lock");
}

#[test]
fn a_transaction_that_reaches_its_deadline_is_cancelled_and_rolled_back() {
    let users = Users::new();
    let builder = users.schema.builder().timeout(PATIENCE * 10);
    let store = builder.from_pool(users.schema.pool(1));
    let limit = OffloadBuilder::default().timeout(Duration::from_millis(300));
    let store = limit.build(store);
    runtime().block_on(async {
        let key = users.key.clone();
        let slow = store.transaction(move |tx| {
            change(tx, &key)?;
            tx.batch_execute("SELECT pg_sleep(600)")?;
            Ok::<_, Error>(())
        });
        let error = slow.await.unwrap_err();
        let is_cancelled = error.sqlstate().is_some_and(|code| code.code() == "57014");
        let is_late = matches!(error, Error::TimedOut { .. } | Error::StillRunning { .. });
        assert!(is_cancelled || is_late, "{error:?}");

        let slow = store.with_client(|client| {
            client.batch_execute("BEGIN; UPDATE users SET email = 'new'; SELECT pg_sleep(600)")?;
            Ok::<_, Error>(())
        });
        assert!(slow.await.is_err());
    });
    wait_until("the locks to be released", || {
        let sql = "SELECT FROM users, session FOR UPDATE NOWAIT";
        users.schema.client().execute(sql, &[]).is_ok()
    });
    users.assert_old("a deadline");
    // The only connection of the pool, or its replacement, can be used.
    wait_until("the facade to be idle", || store.stats().running == 0);
    let patient = Offload::builder().build(users.schema.store());
    runtime().block_on(async {
        let key = users.key.clone();
        patient
            .transaction(move |tx| change(tx, &key))
            .await
            .unwrap();
    });
    users.assert_new("a commit");
}

/// A cancel request ends the wait of a commit for the standby, but not the commit.
#[test]
fn a_commit_at_the_deadline_that_may_lack_replication_is_not_a_success() {
    let server = Server::start().unwrap();
    let schema = Schema::on(server.url());
    let key = schema.store().generate(Some("old"), None).unwrap();
    let mut waits = schema.config();
    let options = format!("{} -csynchronous_commit=on", waits.get_options().unwrap());
    waits.options(&options);
    let store = schema.builder().from_pool(schema.pool_to(waits, 1));
    let limit = OffloadBuilder::default().timeout(Duration::from_millis(500));
    let store = limit.build(store);
    server.set("synchronous_standby_names", "absent").unwrap();
    let set = key.clone();
    let result = runtime().block_on(store.transaction(move |tx| tx.set(&set, "new", None)));
    server.set("synchronous_standby_names", "").unwrap();
    let is_unknown = matches!(
        result,
        Err(Error::Disconnected(_) | Error::StillRunning { .. })
    );
    assert!(is_unknown, "{result:?}");
    // A statement that is cancelled before the commit has no effect, and its error is not replaced.
    server.set("synchronous_standby_names", "absent").unwrap();
    let set = key.clone();
    let result = runtime().block_on(store.transaction(move |tx| {
        tx.set(&set, "newer", None)?;
        tx.batch_execute("SELECT pg_sleep(600)")?;
        Ok::<_, Error>(())
    }));
    server.set("synchronous_standby_names", "").unwrap();
    let is_unknown = matches!(result, Err(Error::Disconnected(_)));
    assert!(result.is_err() && !is_unknown, "{result:?}");
    assert_eq!(schema.store().get(&key).unwrap().value, "new");
}

#[test]
fn a_panic_in_an_async_transaction_rolls_back_and_reaches_the_caller() {
    let users = Users::new();
    let store = offload(&users);
    let runtime = runtime();
    let key = users.key.clone();
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(store.transaction(move |tx| -> Result<(), Error> {
            change(tx, &key)?;
            panic!("in the middle");
        }))
    }));
    assert!(panicked.is_err());
    users.assert_old("a panic");
    runtime
        .block_on(store.set(&users.key, "old", None))
        .unwrap();
}

#[test]
fn a_dropped_future_of_a_transaction_changes_both_tables_or_neither() {
    let users = Users::new();
    let store = offload(&users);
    let runtime = runtime();
    for _ in 0..20 {
        users.schema.run(
            "UPDATE users SET email = 'old' WHERE id = 42; UPDATE session SET session_data = 'old'",
        );
        runtime.block_on(async {
            let key = users.key.clone();
            let call = tokio::spawn({
                let store = store.clone();
                async move { store.transaction(move |tx| change(tx, &key)).await }
            });
            tokio::task::yield_now().await;
            call.abort();
            let _ = call.await;
        });
        wait_until("the facade to be idle", || {
            let stats = store.stats();
            stats.running == 0 && stats.waiting == 0
        });
        let [user, session] = users.addresses();
        assert_eq!(user, session);
    }
}
