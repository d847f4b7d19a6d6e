//! Rows that the server refuses to delete.

use std::sync::Arc;

use session_postgres::postgres::error::SqlState;

use super::{fill, fill_with_living, often};
use crate::support::{database::Schema, wait_until};

/// A trigger that raises an error if a row with the value `kept` is removed.
const RAISE: &str = "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF OLD.session_data = 'kept' THEN RAISE 'kept'; END IF; \
         RETURN OLD; \
     END $$; \
     CREATE TRIGGER keep BEFORE DELETE ON session FOR EACH ROW EXECUTE FUNCTION keep()";

#[test]
fn rows_that_cannot_be_removed_are_skipped_and_reported() {
    let refer = "CREATE TABLE device (session_key char(40) REFERENCES session); \
                 INSERT INTO device SELECT session_key FROM session WHERE session_data = 'kept'";
    let refer_later = refer.replace("session)", "session DEFERRABLE INITIALLY DEFERRED)");
    let refusals = [
        (refer, "DELETE FROM device", SqlState::FOREIGN_KEY_VIOLATION),
        (
            &refer_later,
            "DELETE FROM device",
            SqlState::FOREIGN_KEY_VIOLATION,
        ),
        (
            RAISE,
            "UPDATE session SET session_data = 'x'",
            SqlState::RAISE_EXCEPTION,
        ),
    ];
    for (refuse, allow, code) in refusals {
        let schema = Schema::new();
        let store = Arc::new(schema.store());
        fill(&schema, 5_000);
        fill_with_living(&schema, 10);
        // Rows at both ends, in the middle, and next to each other.
        let kept =
            "session_key IN ('expired1', 'expired2', 'expired3', 'expired2500', 'expired5000')";
        schema.run(&format!(
            "CREATE TABLE sorted AS SELECT session_key, expire_date, \
                 CASE WHEN {kept} THEN 'kept' ELSE session_data END FROM session; \
             TRUNCATE session; INSERT INTO session SELECT * FROM sorted; {refuse}"
        ));

        assert_eq!(store.prune(u64::MAX).unwrap(), 5_000 - 5, "{refuse}");
        assert_eq!(schema.count(kept), 5, "{refuse}");
        let error = store.prune(u64::MAX).unwrap_err();
        assert_eq!(error.sqlstate(), Some(&code), "{error}");

        let pruner = often().start(store);
        schema.run(
            "INSERT INTO session SELECT 'new' || i, now(), 'x' FROM generate_series(1, 100) AS i",
        );
        wait_until("the new rows to be removed", || {
            pruner.stats().removed == 100
        });
        let failures = pruner.stats().failures;
        wait_until("another two passes", || {
            pruner.stats().failures >= failures + 2
        });
        let stats = pruner.stats();
        assert_eq!((stats.removed, stats.passes), (100, 0), "{stats:?}");
        let error = stats.last_error.unwrap();
        assert_eq!(error.sqlstate(), Some(&code), "{error}");

        schema.run(allow);
        wait_until("the last rows to be removed", || {
            pruner.stats().removed == 105
        });
        wait_until("a pass without an error", || {
            pruner.stats().last_error.is_none()
        });
        assert_eq!(schema.count("true"), 10);
    }
}

#[test]
fn a_row_that_cannot_be_removed_does_not_keep_rows_of_another_partition() {
    let schema = Schema::new();
    schema.run(
        "CREATE TABLE session (session_key char(40), expire_date timestamptz, session_data text) \
             PARTITION BY LIST (session_data); \
         CREATE TABLE session_0 PARTITION OF session FOR VALUES IN ('kept'); \
         CREATE TABLE session_1 PARTITION OF session DEFAULT; \
         INSERT INTO session SELECT i, now(), CASE WHEN i % 2 = 0 THEN 'kept' ELSE 'x' END \
         FROM generate_series(1, 20) AS i",
    );
    schema.run(RAISE);
    let store = schema.builder().from_client(schema.client());
    assert_eq!(store.prune(u64::MAX).unwrap(), 10);
    assert_eq!(schema.count("session_data = 'kept'"), 10);
}

/// The table begins with more of these rows than one statement scans.
#[test]
fn rows_that_a_trigger_keeps_without_an_error_are_skipped() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run(
        "INSERT INTO session SELECT 'kept' || i, now(), 'kept' FROM generate_series(1, 1500) AS i",
    );
    fill(&schema, 100);
    schema.run(&RAISE.replace("RAISE 'kept'", "RETURN NULL"));
    assert_eq!(store.prune(u64::MAX).unwrap(), 100);
    assert_eq!(store.prune(u64::MAX).unwrap(), 0);
    assert_eq!(schema.count("session_data = 'kept'"), 1_500);
}

#[test]
fn an_error_that_no_row_causes_is_not_retried_row_by_row() {
    let failures = [
        (
            "FOR EACH STATEMENT",
            "RAISE 'nothing is removed'",
            SqlState::RAISE_EXCEPTION,
            2,
        ),
        (
            "FOR EACH ROW",
            "PERFORM pg_sleep(60)",
            SqlState::QUERY_CANCELED,
            1,
        ),
    ];
    for (level, fail, code, most) in failures {
        let schema = Schema::new();
        schema.create_table(false);
        fill(&schema, 20);
        // A rollback does not reset a sequence.
        schema.run(&format!(
            "CREATE SEQUENCE begun; \
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 PERFORM nextval('begun'); {fail}; RETURN OLD; \
             END $$; \
             CREATE TRIGGER fail BEFORE DELETE ON session {level} EXECUTE FUNCTION fail()"
        ));
        let mut client = schema.client();
        client
            .batch_execute("SET statement_timeout = '300ms'")
            .unwrap();
        let store = schema.builder().from_client(client);
        let error = store.prune(u64::MAX).unwrap_err();
        assert_eq!(error.sqlstate(), Some(&code), "{error}");
        let sql = "SELECT last_value FROM begun";
        let begun: i64 = schema.client().query_one(sql, &[]).unwrap().get(0);
        assert!(begun <= most, "{level}: {begun} statements");
    }
}

/// A call skips a limited number of rows. If there are more, the next call continues behind them.
#[test]
fn many_rows_that_cannot_be_removed_are_skipped_in_several_calls() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run(
        "INSERT INTO session SELECT 'kept' || i, now(), 'kept' FROM generate_series(1, 1200) AS i",
    );
    fill(&schema, 10);
    schema.run(RAISE);
    assert!(store.prune(u64::MAX).is_err());
    assert_eq!(schema.count("true"), 1_210);
    assert_eq!(store.prune(u64::MAX).unwrap(), 10);
    assert_eq!(schema.count("true"), 1_200);
}
