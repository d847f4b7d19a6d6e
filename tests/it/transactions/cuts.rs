//! Connections that break during a transaction.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use session_postgres::{Error, Key, PostgresStore, Store};

use super::{Users, change};
use crate::support::{
    database::{Schema, pid},
    proxy::{Break, Proxy},
    tcp_proxy::TcpProxy,
    wait_until,
};

#[test]
fn a_transaction_that_is_cut_changes_both_tables_or_neither() {
    // The last is true if the server has committed.
    let cuts = [
        (Break::BeforeText("START"), false),
        (Break::AfterText("START"), false),
        (Break::BeforeStatement, false),
        (Break::AfterStatement, false),
        (Break::BeforeText("SELECT\0"), false),
        (Break::AfterText("SELECT\0"), false),
        (Break::BeforeText("COMMIT"), false),
        (Break::AfterText("COMMIT"), true),
    ];
    for (number, (cut, is_committed)) in cuts.into_iter().enumerate() {
        let users = Users::new();
        let proxy = Proxy::to(&users.schema.config());
        let pool = users
            .schema
            .pool_to(proxy.config(&users.schema.config()), 1);
        let store = users.schema.builder().from_pool(pool);
        // On a new connection, the store itself sends the first statement.
        assert!(store.find(&Key::generate().unwrap()).unwrap().is_none());
        proxy.break_at(cut);
        let executed = AtomicUsize::new(0);
        let result = store.transaction(|tx| {
            executed.fetch_add(1, Ordering::SeqCst);
            change(tx, &users.key)
        });
        assert!(proxy.has_broken(), "{number}");
        let is_unknown = matches!(result, Err(Error::Disconnected(_)));
        assert!(result.is_err(), "{number}");
        assert_eq!(is_unknown, number >= 6, "{number}: {result:?}");
        // `work` is not repeated.
        assert_eq!(executed.into_inner(), usize::from(number >= 2), "{number}");
        if is_committed {
            users.assert_new("a cut after the commit");
        } else {
            users.assert_old(&format!("cut {number}"));
        }
        // The store replaces the connection.
        store.transaction(|tx| change(tx, &users.key)).unwrap();
        users.assert_new("the next transaction");
    }
}

/// Makes each commit that changes an address wait for a lock, and returns the client that has it.
fn hold_commits(users: &Users) -> session_postgres::postgres::Client {
    users.schema.run(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_advisory_xact_lock_shared('users'::regclass::oid::bigint); RETURN NULL; \
         END $$; \
         CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION wait()",
    );
    let mut holder = users.schema.client();
    let hold = "SELECT pg_advisory_lock('users'::regclass::oid::bigint)";
    holder.execute(hold, &[]).unwrap();
    holder
}

/// Runs `break_connection` while the server executes the commit. Returns the result of the transaction.
fn during_the_commit(
    users: &Users,
    store: &PostgresStore,
    break_connection: impl FnOnce(),
) -> Result<(), Error> {
    let mut holder = hold_commits(users);
    let pid = pid(store);
    thread::scope(|scope| {
        let call = scope.spawn(|| store.transaction(|tx| change(tx, &users.key)));
        wait_until("the commit to wait", || {
            let sql = "SELECT count(*) FROM pg_stat_activity \
                       WHERE pid = $1 AND query = 'COMMIT' AND wait_event_type = 'Lock'";
            holder.query_one(sql, &[&pid]).unwrap().get::<_, i64>(0) == 1
        });
        break_connection();
        let result = call.join().unwrap();
        users.assert_old("a commit that waits");
        drop(holder);
        wait_until("the server process to end", || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
            let row = users.schema.client().query_one(sql, &[&pid]).unwrap();
            row.get::<_, i64>(0) == 0
        });
        result
    })
}

#[test]
fn a_cut_during_the_commit_leaves_the_outcome_unknown() {
    let users = Users::new();
    let proxy = TcpProxy::to(&users.schema.config());
    let pool = users
        .schema
        .pool_to(proxy.config(&users.schema.config()), 1);
    let store = users.schema.builder().from_pool(pool);
    let result = during_the_commit(&users, &store, || proxy.cut());
    assert!(matches!(result, Err(Error::Disconnected(_))), "{result:?}");
    // The server did not notice the cut and has committed.
    users.assert_new("the end of the commit");
}

#[test]
fn a_server_process_that_is_killed_during_the_commit_has_changed_nothing() {
    let users = Users::new();
    let store = users.schema.builder().from_pool(users.schema.pool(1));
    let pid = pid(&store);
    let result = during_the_commit(&users, &store, || {
        users
            .schema
            .run(&format!("SELECT pg_terminate_backend({pid})"));
    });
    // The driver may notice the end of the connection before it reads the server's message.
    let is_expected = match &result {
        Err(Error::Disconnected(_)) => true,
        Err(error) => error.sqlstate().is_some_and(|code| code.code() == "57P01"),
        Ok(()) => false,
    };
    assert!(is_expected, "{result:?}");
    users.assert_old("a killed commit");
}

#[test]
fn a_transaction_on_a_single_client_that_was_closed_is_not_executed() {
    let users = Users::new();
    let store = users.schema.builder().from_client(users.schema.client());
    let pid = pid(&store);
    users
        .schema
        .run(&format!("SELECT pg_terminate_backend({pid}, 10000)"));
    let result = store.transaction(|_| -> Result<(), Error> { unreachable!() });
    assert!(matches!(result, Err(Error::Database(_))), "{result:?}");
    // A pool replaces a connection that was closed while it was idle.
    let store = users.schema.builder().from_pool(users.schema.pool(1));
    let pid = crate::support::database::pid(&store);
    users
        .schema
        .run(&format!("SELECT pg_terminate_backend({pid}, 10000)"));
    store.transaction(|tx| change(tx, &users.key)).unwrap();
    users.assert_new("a replaced connection");
}

/// The server reports a fatal error while it executes the commit.
const ENDS_AT_COMMIT: &str = "
CREATE FUNCTION end_connection() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid());
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER end_connection AFTER UPDATE ON session
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION end_connection()";

#[test]
fn the_outcome_of_a_commit_with_a_fatal_error_is_unknown() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate(Some("old"), None).unwrap();
    schema.run(ENDS_AT_COMMIT);
    let result = store.transaction(|tx| tx.set(&key, "new", None));
    assert!(matches!(result, Err(Error::Disconnected(_))), "{result:?}");
}
