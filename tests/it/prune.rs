//! Rows of expired sessions, removed by call and in the background.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use session_postgres::{
    Error, Offload, Period, PostgresStore, Pruner, PrunerBuilder, Store,
    postgres::{Client, NoTls, error::SqlState},
    r2d2::{ManageConnection, Pool},
};
use throwaway_postgres::Server;
use tokio::runtime::Runtime;

use crate::support::{
    PATIENCE,
    database::{Manager, ORIGINAL, Schema},
    patiently,
    role::Role,
    wait_until,
};

/// So many rows that have expired.
fn fill(schema: &Schema, rows: u64) {
    schema.run(&format!(
        "INSERT INTO session \
         SELECT 'expired' || i, now() - interval '1 hour', repeat('x', 200) \
         FROM generate_series(1, {rows}) AS i"
    ));
}

/// So many rows that have not.
fn fill_with_living(schema: &Schema, rows: u64) {
    schema.run(&format!(
        "INSERT INTO session SELECT gen_random_uuid()::text, now() + interval '1 day', \
         repeat('x', 200) FROM generate_series(1, {rows})"
    ));
}

/// A pruner that does not rest for long between its passes.
fn often() -> PrunerBuilder {
    Pruner::builder().interval(Duration::from_millis(10))
}

#[test]
fn only_what_has_expired_is_removed() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        let store = schema.builder().from_client(schema.client());
        let living = store.generate(Some("lobster"), None).unwrap();
        let unset = store.generate(None, Some(Period::HOUR)).unwrap();
        store.generate(Some("over"), Some(Period::ZERO)).unwrap();
        store.generate(None, Some(-Period::HOUR)).unwrap();
        schema.run(
            "INSERT INTO session VALUES ('always', 'infinity', 'x'), ('never', '-infinity', 'x')",
        );
        let mut expired = 3;
        if legacy {
            schema.run(
                "INSERT INTO session VALUES ('undated', NULL, 'x'), (NULL, NULL, NULL), \
                 ('double', now() - interval '1 day', 'old'), \
                 ('double', now() + interval '1 day', 'new'), \
                 ('double', NULL, 'undated')",
            );
            expired += 4;
        }
        assert_eq!(store.prune(100).unwrap(), expired, "legacy: {legacy}");
        assert_eq!(store.prune(100).unwrap(), 0, "legacy: {legacy}");
        assert_eq!(schema.count("(expire_date > now()) IS NOT TRUE"), 0);
        assert_eq!(store.get(&living).unwrap().value, "lobster");
        assert!(matches!(store.get(&unset), Err(Error::NotSet)));
        let always = "always".parse().unwrap();
        assert_eq!(store.get(&always).unwrap().period, Period::MAX);
        if legacy {
            let double = "double".parse().unwrap();
            assert_eq!(store.get(&double).unwrap().value, "new");
        }
    }
}

#[test]
fn no_more_than_the_limit_is_removed() {
    let schema = Schema::new();
    let store = schema.store();
    fill(&schema, 3_000);
    assert_eq!(store.prune(0).unwrap(), 0);
    assert_eq!(store.prune(1).unwrap(), 1);
    assert_eq!(store.prune(150).unwrap(), 150);
    assert_eq!(store.prune(1_234).unwrap(), 1_234);
    assert_eq!(schema.count("true"), 3_000 - 1 - 150 - 1_234);
    assert_eq!(store.prune(u64::MAX).unwrap(), 3_000 - 1 - 150 - 1_234);
    assert_eq!(schema.count("true"), 0);
}

/// Wherever the last call has ended, the next finds what there is, on either side.
#[test]
fn each_call_goes_once_around_the_whole_table() {
    let schema = Schema::new();
    let store = schema.store();
    // Some 700 blocks, of which one statement looks at 128.
    schema.run("ALTER TABLE session SET (autovacuum_enabled = false)");
    fill_with_living(&schema, 300 * 27);
    fill(&schema, 10);
    fill_with_living(&schema, 400 * 27);
    assert_eq!(store.prune(5).unwrap(), 5);
    // Behind where that has ended, there, and ahead of it.
    schema.run(
        "WITH numbered AS (SELECT session_key, row_number() OVER (ORDER BY ctid) AS place FROM session) \
         UPDATE session SET expire_date = now() FROM numbered \
         WHERE session.session_key = numbered.session_key \
         AND place IN (1, 3000, 8000, 9000, 15000, 18000)",
    );
    let expired = "expire_date <= now()";
    assert_eq!(schema.count(expired), 11);
    assert_eq!(store.prune(u64::MAX).unwrap(), 11);
    assert_eq!(schema.count(expired), 0);
    assert_eq!(schema.count("true"), 700 * 27 - 6);

    // A table that has become smaller than where the last call has ended.
    fill(&schema, 10);
    assert_eq!(store.prune(5).unwrap(), 5);
    schema.run("TRUNCATE session");
    fill(&schema, 20);
    assert_eq!(store.prune(u64::MAX).unwrap(), 20);
}

#[test]
fn each_call_goes_on_where_the_last_one_has_ended() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run("INSERT INTO session VALUES ('front', now(), 'x')");
    // More blocks than one statement looks at.
    fill_with_living(&schema, 300 * 27);
    fill(&schema, 10);
    let mut holder = schema.client();
    let mut transaction = holder.transaction().unwrap();
    let lock = "SELECT FROM session WHERE session_key = 'front' FOR UPDATE";
    assert_eq!(transaction.execute(lock, &[]).unwrap(), 1);
    assert_eq!(store.prune(5).unwrap(), 5);
    transaction.rollback().unwrap();
    assert_eq!(store.prune(5).unwrap(), 5);
    assert_eq!(schema.count("session_key = 'front'"), 1);
    assert_eq!(store.prune(5).unwrap(), 1);
}

#[test]
fn rows_that_others_have_locked_are_left_and_nobody_waits() {
    for lock in ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"] {
        let schema = Schema::new();
        // Waiting would end in an error.
        let store = schema.builder().from_client(schema.client());
        store.create_table().unwrap();
        fill(&schema, 2_000);
        let mut holder = schema.client();
        let mut transaction = holder.transaction().unwrap();
        let sql = format!("SELECT FROM session WHERE session_key = 'expired7' FOR {lock}");
        assert_eq!(transaction.execute(&sql, &[]).unwrap(), 1);
        assert_eq!(store.prune(u64::MAX).unwrap(), 1_999, "FOR {lock}");
        transaction.rollback().unwrap();
        assert_eq!(store.prune(u64::MAX).unwrap(), 1, "FOR {lock}");
    }
}

/// What becomes of rows between the look at the table and the look at them: a policy of the table makes
/// the statement stop at its first row, until the others are changed.
#[test]
fn a_row_that_is_renewed_meanwhile_survives() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        schema.run("INSERT INTO session VALUES ('gate', now(), 'x')");
        fill(&schema, 50);
        let role = Role::new(&schema);
        role.grant("GRANT SELECT, INSERT, UPDATE, DELETE ON session TO web");
        role.grant(
            "CREATE FUNCTION passes(key text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
                 IF key = 'gate' THEN \
                     PERFORM pg_advisory_xact_lock_shared('session'::regclass::oid::bigint); \
                 END IF; \
                 RETURN true; \
             END $$; \
             ALTER TABLE session ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY gate ON session TO web USING (passes(session_key))",
        );
        let store = role.store();
        let mut guard = schema.client();
        let hold = "SELECT pg_advisory_lock('session'::regclass::oid::bigint)";
        guard.execute(hold, &[]).unwrap();
        let mut other = schema.client();
        let mut transaction = other.transaction().unwrap();
        let removed = thread::scope(|scope| {
            let call = scope.spawn(|| store.prune(u64::MAX).unwrap());
            wait_until("the statement to stop", || {
                let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                           AND NOT granted AND objid = 'session'::regclass";
                guard.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 1
            });
            schema.run(
                "UPDATE session SET expire_date = now() + interval '1 day' \
                     WHERE session_key = 'expired1'; \
                 UPDATE session SET expire_date = 'infinity', session_data = repeat('y', 5000) \
                     WHERE session_key = 'expired2'; \
                 DELETE FROM session WHERE session_key = 'expired3'; \
                 INSERT INTO session VALUES ('expired3', now() + interval '1 day', 'new'); \
                 DELETE FROM session WHERE session_key = 'expired4'; \
                 UPDATE session SET expire_date = now() - interval '1 minute' \
                     WHERE session_key = 'expired5'; \
                 UPDATE session SET session_key = 'renamed', expire_date = now() + interval '1 day' \
                     WHERE session_key = 'expired6'",
            );
            // Not for all to see yet.
            let renew = "UPDATE session SET expire_date = now() + interval '1 day' \
                         WHERE session_key = 'expired7'";
            transaction.execute(renew, &[]).unwrap();
            let let_go = "SELECT pg_advisory_unlock_all()";
            guard.execute(let_go, &[]).unwrap();
            call.join().unwrap()
        });
        transaction.commit().unwrap();
        let left = schema
            .count("session_key IN ('expired1', 'expired2', 'expired3', 'renamed', 'expired7')");
        assert_eq!(left, 5, "legacy: {legacy}");
        // The one that was changed and had expired all the same is for this or the next time.
        let last = store.prune(u64::MAX).unwrap();
        assert_eq!(removed + last, 50 + 1 - 6, "legacy: {legacy}");
        assert_eq!(schema.count("true"), 5);
    }
}

#[test]
fn of_rows_that_are_renewed_all_the_time_only_the_expired_go() {
    let schema = Schema::new();
    let store = schema.store();
    fill(&schema, 3_000);
    let renewed: Vec<u32> = thread::scope(|scope| {
        let renewers = [0, 1].map(|number| {
            let mut client = schema.client();
            scope.spawn(move || {
                let renew = "UPDATE session SET expire_date = now() + interval '1 day' \
                             WHERE session_key = 'expired' || $1::int";
                let renew = client.prepare(renew).unwrap();
                // From the end, which pruning reaches last.
                let rows = (1..=1_500).rev().map(|i| 2 * i - number);
                rows.filter(|row| client.execute(&renew, &[row]).unwrap() == 1)
                    .map(|row| row as u32)
                    .collect::<Vec<_>>()
            })
        });
        while !renewers.iter().all(ScopedJoinHandle::is_finished) {
            store.prune(100).unwrap();
        }
        let renewed = renewers.map(|renewer| renewer.join().unwrap());
        renewed.concat()
    });
    store.prune(u64::MAX).unwrap();
    assert_eq!(schema.count("true"), renewed.len() as i64);
    for row in renewed {
        let key = format!("expired{row}").parse().unwrap();
        assert!(store.get(&key).is_ok(), "{row}");
    }
}

#[test]
fn two_calls_at_once_remove_each_row_once() {
    let schema = Schema::new();
    let stores = [(); 2].map(|()| schema.store());
    let living = stores[0].generate(Some("lobster"), None).unwrap();
    fill(&schema, 20_000);
    let removed: Vec<_> = thread::scope(|scope| {
        let calls = stores
            .each_ref()
            .map(|store| scope.spawn(|| store.prune(u64::MAX).unwrap()));
        calls.map(|call| call.join().unwrap()).into()
    });
    assert_eq!(removed.iter().sum::<u64>(), 20_000, "{removed:?}");
    assert_eq!(schema.count("true"), 1);
    assert!(stores[1].get(&living).is_ok());
}

#[test]
fn a_table_in_partitions_is_pruned_too() {
    let schema = Schema::new();
    schema.run(
        "CREATE TABLE session (session_key char(40) PRIMARY KEY, \
             expire_date timestamptz NOT NULL, session_data text) PARTITION BY HASH (session_key); \
         CREATE TABLE session_0 PARTITION OF session FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE session_1 PARTITION OF session FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    );
    let store = schema.builder().from_pool(schema.pool(2));
    fill(&schema, 10_000);
    // Of each two blocks one has living rows, and of expired ones there is one in the same place of the
    // other partition.
    schema.run(
        "UPDATE session_1 SET expire_date = now() + interval '1 day' \
         WHERE (ctid::text::point)[0]::int % 2 = 0",
    );
    let living = schema.count("expire_date > now()");
    assert_eq!(store.prune(500).unwrap(), 500);
    // None of the other partition is looked at a second time, or waited for.
    let mut holder = schema.client();
    let mut transaction = holder.transaction().unwrap();
    transaction
        .execute(
            "SELECT FROM session WHERE expire_date <= now() LIMIT 10 FOR UPDATE",
            &[],
        )
        .unwrap();
    let removed = store.prune(u64::MAX).unwrap();
    assert_eq!(removed, 10_000 - living as u64 - 500 - 10);
    transaction.rollback().unwrap();
    assert_eq!(store.prune(u64::MAX).unwrap(), 10);
    assert_eq!(schema.count("true"), living);
}

#[test]
fn a_table_on_the_search_path_is_found() {
    let schema = Schema::new();
    schema.run(ORIGINAL);
    fill(&schema, 10);
    let store = Arc::new(PostgresStore::from_client(schema.client()));
    assert_eq!(store.prune(4).unwrap(), 4);
    let pruner = often().start(store);
    wait_until("the rest to go", || pruner.stats().removed == 6);
    assert_eq!(schema.count("true"), 0);
}

#[test]
fn a_missing_table_and_a_missing_privilege_are_told() {
    let schema = Schema::new();
    let store = schema.builder().from_client(schema.client());
    let error = store.prune(1).unwrap_err();
    assert!(matches!(error, Error::MissingTable { .. }), "{error:?}");

    store.create_table().unwrap();
    fill(&schema, 10);
    let role = Role::new(&schema);
    role.grant("GRANT SELECT, INSERT, UPDATE ON session TO web");
    let pruner = often().start(Arc::new(role.store()));
    wait_until("two failures", || pruner.stats().failures >= 2);
    let error = pruner.stats().last_error.unwrap();
    let code = error.sqlstate();
    assert_eq!(code, Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{error}");
    role.grant("GRANT DELETE ON session TO web");
    wait_until("it to go on", || pruner.stats().removed == 10);
    wait_until("the pass to end", || pruner.stats().last_error.is_none());
    drop(pruner);
}

/// Has each row whose value is `kept` refuse to be removed.
const RAISE: &str = "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF OLD.session_data = 'kept' THEN RAISE 'kept'; END IF; \
         RETURN OLD; \
     END $$; \
     CREATE TRIGGER keep BEFORE DELETE ON session FOR EACH ROW EXECUTE FUNCTION keep()";

#[test]
fn rows_that_cannot_be_removed_are_passed_over_and_told() {
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
        // At both ends, in the middle, and next to each other.
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
        wait_until("the new ones to be removed", || {
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
        wait_until("the last to be removed", || pruner.stats().removed == 105);
        wait_until("it to be well", || pruner.stats().last_error.is_none());
        assert_eq!(schema.count("true"), 10);
    }
}

#[test]
fn a_row_that_cannot_be_removed_keeps_none_of_another_partition() {
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

/// A trigger that keeps rows without an error: more of them than one statement looks at come first.
#[test]
fn rows_that_stay_without_an_error_are_passed_over() {
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
fn an_error_that_is_not_about_rows_is_not_met_row_by_row() {
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
        // What has been counted by a sequence is not rolled back.
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

/// If more rows cannot be removed than one call passes over, the next call goes on behind them.
#[test]
fn many_rows_that_cannot_be_removed_are_passed_over_in_several_calls() {
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

#[test]
fn a_call_that_cannot_begin_is_over_in_time() {
    let schema = Schema::new();
    let store = schema
        .builder()
        .timeout(Duration::from_millis(200))
        .from_pool(schema.pool(2));
    patiently(|| store.create_table());
    fill(&schema, 10);
    let mut holder = schema.client();
    let mut transaction = holder.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE session").unwrap();
    let error = store.prune(10).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    transaction.rollback().unwrap();
    assert_eq!(schema.count("true"), 10);
    assert_eq!(patiently(|| store.prune(10)), 10);
}

/// Has each statement that removes rows take a while.
fn slow_down(schema: &Schema) {
    schema.run(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_sleep(0.05); RETURN NULL; \
         END $$; \
         CREATE TRIGGER slow BEFORE DELETE ON session EXECUTE FUNCTION slow()",
    );
}

#[test]
fn a_call_in_the_facade_answers_before_its_time_is_up() {
    let schema = Schema::new();
    let store = schema.store();
    slow_down(&schema);
    fill(&schema, 10_000);
    let store = Offload::builder()
        .timeout(Duration::from_secs(3))
        .build(store);
    let runtime = Runtime::new().unwrap();
    let (before, removed) = patiently(|| {
        wait_until("no call is under way", || store.stats().running == 0);
        let before = schema.count("true") as u64;
        let prune = store.run(|store| store.prune(u64::MAX));
        Ok((before, runtime.block_on(prune)??))
    });
    assert!((1..before).contains(&removed), "{removed}");
    assert_eq!(schema.count("true") as u64, before - removed);
}

/// Who wants one of its rows waits for no more than the statement under way, and gets in between two.
#[test]
fn others_get_in_between_two_statements() {
    let schema = Schema::new();
    let store = schema.store();
    slow_down(&schema);
    fill(&schema, 5_000);
    thread::scope(|scope| {
        let call = scope.spawn(|| store.prune(u64::MAX).unwrap());
        wait_until("the first to be removed", || schema.count("true") < 5_000);
        // As strong as a lock can be.
        schema.run("BEGIN; LOCK TABLE session IN ACCESS EXCLUSIVE MODE; COMMIT");
        assert!(schema.count("true") > 0);
        assert_eq!(call.join().unwrap(), 5_000);
    });
}

#[test]
fn the_server_is_left_alone_between_two_statements() {
    let schema = Schema::new();
    let store = Arc::new(schema.store());
    schema.run(
        "CREATE TABLE statement (begun timestamptz, ended timestamptz); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ \
             DECLARE begun timestamptz := clock_timestamp(); \
         BEGIN \
             PERFORM pg_sleep(0.05); \
             INSERT INTO statement VALUES (begun, clock_timestamp()); \
             RETURN NULL; \
         END $$; \
         CREATE TRIGGER note BEFORE DELETE ON session EXECUTE FUNCTION note()",
    );
    // A pause is of 100 ms here, by another clock.
    let assert_pauses = |what: &str| {
        let sql = "SELECT count(*), coalesce(min(pause) >= interval '50 ms', false) FROM ( \
                       SELECT begun - lag(ended) OVER (ORDER BY begun) AS pause FROM statement \
                   ) AS pauses WHERE pause IS NOT NULL";
        let row = schema.client().query_one(sql, &[]).unwrap();
        let (pauses, long): (i64, bool) = (row.get(0), row.get(1));
        assert!(pauses >= 5 && long, "{what}: {pauses} pauses");
        schema.run("TRUNCATE statement");
    };
    fill(&schema, 1_000);
    assert_eq!(store.prune(u64::MAX).unwrap(), 1_000);
    assert_pauses("a call");
    fill(&schema, 1_000);
    let pruner = Pruner::builder()
        .interval(Duration::MAX)
        .start(store.clone());
    wait_until("the pass to end", || pruner.stats().passes == 1);
    assert_pauses("a pruner");
}

#[test]
fn statements_get_larger_while_they_are_fast_and_smaller_while_they_are_slow() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run(
        "CREATE TABLE statement (id serial, rows bigint); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ \
             DECLARE n bigint := count(*) FROM gone; \
         BEGIN \
             INSERT INTO statement (rows) VALUES (n); \
             IF n >= 200 THEN PERFORM pg_sleep(0.05); END IF; \
             RETURN NULL; \
         END $$; \
         CREATE TRIGGER note AFTER DELETE ON session REFERENCING OLD TABLE AS gone \
             FOR EACH STATEMENT EXECUTE FUNCTION note()",
    );
    wait_until("statements to get larger", || {
        fill(&schema, 1_000);
        assert_eq!(store.prune(u64::MAX).unwrap(), 1_000);
        schema
            .client()
            .query_one("SELECT max(rows) >= 200 FROM statement", &[])
            .unwrap()
            .get(0)
    });
    let sql = "SELECT rows FROM statement ORDER BY id";
    let rows = schema.client().query(sql, &[]).unwrap();
    let rows: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let after_slow = rows.windows(2).filter(|pair| pair[0] >= 200);
    assert!(after_slow.clone().count() > 0, "{rows:?}");
    assert!(after_slow.clone().all(|pair| pair[1] < pair[0]), "{rows:?}");
}

/// A commit of the store's that waits for a standby would wait for ever, here.
#[test]
fn no_standby_is_waited_for() {
    let server = Server::start().unwrap();
    let schema = Schema::on(server.url());
    schema.store();
    let mut waits = schema.config();
    let options = format!("{} -csynchronous_commit=on", waits.get_options().unwrap());
    waits.options(&options);
    let store = schema.builder().connect_with(waits, NoTls).unwrap();
    fill(&schema, 10);
    server.set("synchronous_standby_names", "nobody").unwrap();
    assert_eq!(store.prune(10).unwrap(), 10);
}

#[test]
fn a_pruner_removes_what_expires_again_and_again() {
    let schema = Schema::new();
    let store = Arc::new(schema.store());
    let living = store.generate(Some("lobster"), None).unwrap();
    let pruner = often().limit(150).start(store.clone());
    for round in 1..=3 {
        fill(&schema, 1_000);
        wait_until("all to be removed", || schema.count("true") == 1);
        wait_until("that to be counted", || {
            pruner.stats().removed == round * 1_000
        });
    }
    let stats = pruner.stats();
    assert!(stats.passes >= 3 * 6, "{stats:?}");
    assert_eq!((stats.yields, stats.failures), (0, 0), "{stats:?}");
    assert!(stats.last_error.is_none());
    assert!(store.get(&living).is_ok());
    assert!(format!("{pruner:?}").contains("removed: 3000"));
}

/// Takes the turn of a table, as the documentation says that it is known to the server.
const TAKE_TURN: &str = "SELECT pg_advisory_lock(1936028531, 'session'::regclass::oid::int4)";

/// How many have it.
fn holders_of_turn(client: &mut Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
               AND classid = 1936028531 AND objid = 'session'::regclass AND objsubid = 2";
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn a_pruner_leaves_the_table_to_another_that_is_at_it() {
    let schema = Schema::new();
    let store = schema.store();
    let mut other = schema.client();
    other.execute(TAKE_TURN, &[]).unwrap();
    fill(&schema, 1_000);
    let pruner = often().start(Arc::new(store));
    wait_until("some passes", || pruner.stats().yields >= 3);
    let stats = pruner.stats();
    assert_eq!((stats.removed, stats.passes, stats.failures), (0, 0, 0));
    assert_eq!(schema.count("true"), 1_000);

    // Another table has another turn, and a call of one's own needs none.
    let elsewhere = Schema::new();
    let other_store = elsewhere.store();
    fill(&elsewhere, 10);
    let other_pruner = often().start(Arc::new(other_store));
    wait_until("those to be removed", || other_pruner.stats().removed == 10);
    assert_eq!(schema.store().prune(100).unwrap(), 100);

    drop(other);
    wait_until("all to be removed", || pruner.stats().removed == 900);
    assert_eq!(schema.count("true"), 0);
}

#[test]
fn of_two_pruners_only_one_is_at_it_at_a_time() {
    let schema = Schema::new();
    let stores = [(); 2].map(|()| Arc::new(schema.store()));
    slow_down(&schema);
    fill(&schema, 6_000);
    let mut client = schema.client();
    let pruners = stores.each_ref().map(|store| often().start(store.clone()));
    let sum = || pruners.iter().map(|p| p.stats().removed).sum::<u64>();
    let mut busy = 0;
    wait_until("all to be removed", || {
        let holders = holders_of_turn(&mut client);
        assert!(holders <= 1, "{holders} have the turn");
        busy += holders;
        sum() == 6_000
    });
    assert!(busy > 0);
    assert_eq!(schema.count("true"), 0);
    let yields = pruners.iter().map(|p| p.stats().yields).sum::<u64>();
    assert!(yields > 0);
    drop(pruners);
    wait_until("nobody to have the turn", || {
        holders_of_turn(&mut client) == 0
    });
}

#[test]
fn a_pruner_outlives_kills_and_a_restart() {
    let server = Server::start().unwrap();
    let schema = Schema::on(server.url());
    let store = schema
        .builder()
        .timeout(Duration::from_millis(300))
        .from_pool(schema.pool(2));
    patiently(|| store.create_table());
    let pruner = often().start(Arc::new(store));
    let goes_on = || {
        let before = pruner.stats().removed;
        fill(&schema, 100);
        wait_until("all to be removed", || {
            pruner.stats().removed == before + 100
        });
    };
    goes_on();
    schema.run(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
         WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    );
    goes_on();
    server.restart().unwrap();
    goes_on();
    server.stop().unwrap();
    wait_until("it to fail", || pruner.stats().last_error.is_some());
    server.start_again().unwrap();
    goes_on();
    wait_until("it to be well", || pruner.stats().last_error.is_none());
    assert!(pruner.stats().failures > 0);
}

/// A pool's manager that panics in the pruner's thread, as long as it is told to.
struct Panicking {
    inner: Manager,
    panics: Arc<AtomicBool>,
}

impl ManageConnection for Panicking {
    type Connection = Client;
    type Error = <Manager as ManageConnection>::Error;

    fn connect(&self) -> Result<Client, Self::Error> {
        self.inner.connect()
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), Self::Error> {
        self.inner.is_valid(client)
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        let is_pruner = thread::current().name() == Some("session-pruner");
        if is_pruner && self.panics.swap(false, Ordering::SeqCst) {
            panic!("no file descriptors");
        }
        self.inner.has_broken(client)
    }
}

#[test]
fn a_pruner_outlives_a_panic_and_tells_of_it() {
    let schema = Schema::new();
    let panics = Arc::new(AtomicBool::new(true));
    let manager = Panicking {
        inner: Manager::new(schema.config(), NoTls),
        panics: panics.clone(),
    };
    let pool = Pool::builder()
        .max_size(3)
        .test_on_check_out(false)
        .build(manager)
        .unwrap();
    let store = schema.builder().from_pool(pool);
    store.create_table().unwrap();
    let pruner = Pruner::builder()
        .interval(Duration::from_secs(1))
        .start(Arc::new(store));
    wait_until("a panic", || pruner.stats().failures == 1);
    let error = pruner.stats().last_error.unwrap();
    assert!(error.to_string().contains("no file descriptors"), "{error}");
    fill(&schema, 10);
    wait_until("those to be removed", || pruner.stats().removed == 10);
}

#[test]
fn a_pruner_that_is_dropped_ends_soon_whatever_it_does() {
    let schema = Schema::new();
    schema.store();
    // By itself none of them ends in the time that a test has.
    let builder = schema.builder().timeout(PATIENCE * 10);
    let store = Arc::new(builder.from_pool(schema.pool(2)));
    let ends = |what: &str, pruner: Pruner, store: &Arc<PostgresStore>| {
        let begun = Instant::now();
        drop(pruner);
        assert!(begun.elapsed() < PATIENCE, "{what}");
        wait_until(what, || Arc::strong_count(store) == 1);
    };

    let pruner = Pruner::builder()
        .interval(Duration::MAX)
        .start(store.clone());
    wait_until("the first pass", || pruner.stats().passes == 1);
    ends("one that waits for its next pass", pruner, &store);

    // Right away, whether or not its thread has begun.
    ends(
        "one that has just begun",
        Pruner::start(store.clone()),
        &store,
    );

    slow_down(&schema);
    fill(&schema, 10_000);
    let pruner = Pruner::start(store.clone());
    wait_until("some to be removed", || pruner.stats().removed > 0);
    ends("one in the middle of a pass", pruner, &store);
    assert!(schema.count("true") > 0);

    let mut holder = schema.client();
    let mut transaction = holder.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE session").unwrap();
    let pruner = Pruner::start(store.clone());
    wait_until("its statement", || schema.active() == 1);
    ends("one whose statement waits for a lock", pruner, &store);
    wait_until("the server is done", || schema.active() == 0);
    transaction.rollback().unwrap();

    // The thread that is gone has left the store as it was.
    assert!(store.prune(10).unwrap() == 10);
}

#[test]
fn a_pruner_of_a_facade_may_be_dropped_last_on_a_worker() {
    let schema = Schema::new();
    let mut config = schema.config();
    config.application_name(schema.name());
    let store = schema.builder().connect_with(config, NoTls).unwrap();
    store.create_table().unwrap();
    fill(&schema, 1_000);
    let store = Offload::new(store);
    Runtime::new().unwrap().block_on(async {
        let on_worker = tokio::spawn(async move {
            let pruner = store.start_pruner(often());
            drop(store);
            while pruner.stats().removed < 1_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        on_worker.await.unwrap();
    });
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    wait_until("all connections to be closed", || {
        let mut client = schema.client();
        let row = client.query_one(sql, &[&schema.name()]).unwrap();
        row.get::<_, i64>(0) == 0
    });
}
