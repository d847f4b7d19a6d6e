//! Rows of expired sessions, removed by call and in the background.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use session_postgres::{Error, Offload, Period, PostgresStore, Store, postgres::error::SqlState};
use throwaway_postgres::Server;
use tokio::runtime::Runtime;

use crate::support::{
    database::{ORIGINAL, Schema},
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

#[test]
fn only_what_has_expired_is_removed() {
    for legacy in [false, true] {
        let schema = Schema::new();
        if legacy {
            schema.run(ORIGINAL);
        } else {
            schema.store();
        }
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
    let living = |rows: u64| {
        schema.run(&format!(
            "INSERT INTO session SELECT gen_random_uuid()::text, now() + interval '1 day', \
             repeat('x', 200) FROM generate_series(1, {rows})"
        ));
    };
    living(300 * 27);
    fill(&schema, 10);
    living(400 * 27);
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
fn rows_that_others_have_locked_are_left_and_nobody_waits() {
    for lock in ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"] {
        let schema = Schema::new();
        // Waiting would be an error.
        let client = schema.client();
        let store = schema
            .builder()
            .timeout(Duration::from_secs(20))
            .from_client(client);
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
        if legacy {
            schema.run(ORIGINAL);
        } else {
            schema.store();
        }
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
    let is_over = AtomicBool::new(false);
    let renewed: Vec<u32> = thread::scope(|scope| {
        let renewers: Vec<_> = (0..2)
            .map(|number| {
                let mut client = schema.client();
                scope.spawn(move || {
                    let renew = "UPDATE session SET expire_date = now() + interval '1 day' \
                                 WHERE session_key = 'expired' || $1::int";
                    let renew = client.prepare(renew).unwrap();
                    // From the end, where the pruning comes last.
                    let rows = (1..=1_500).rev().map(|i| 2 * i - number);
                    rows.filter(|row| client.execute(&renew, &[row]).unwrap() == 1)
                        .map(|row| row as u32)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                store.prune(100).unwrap();
            }
        });
        let renewed = renewers.into_iter().flat_map(|r| r.join().unwrap());
        let renewed = renewed.collect();
        is_over.store(true, Ordering::Relaxed);
        renewed
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
    // Living ones are where expired ones are in the other partition.
    schema.run("UPDATE session_1 SET expire_date = now() + interval '1 day' WHERE ctid < '(50,0)'");
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
    let store = PostgresStore::from_client(schema.client());
    assert_eq!(store.prune(4).unwrap(), 4);
    assert_eq!(store.prune(10).unwrap(), 6);
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
    let error = role.store().prune(10).unwrap_err();
    let code = error.sqlstate();
    assert_eq!(code, Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{error}");
}

#[test]
fn a_call_that_cannot_begin_is_over_in_time() {
    let schema = Schema::new();
    let store = schema
        .builder()
        .timeout(Duration::from_millis(200))
        .from_pool(schema.pool(2));
    store.create_table().unwrap();
    fill(&schema, 10);
    let mut holder = schema.client();
    let mut transaction = holder.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE session").unwrap();
    let error = store.prune(10).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    transaction.rollback().unwrap();
    assert_eq!(schema.count("true"), 10);
    assert_eq!(store.prune(10).unwrap(), 10);
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
    let prune = store.run(|store| store.prune(10_000));
    let removed = Runtime::new().unwrap().block_on(prune).unwrap().unwrap();
    assert!((1..10_000).contains(&removed), "{removed}");
    assert_eq!(schema.count("true"), 10_000 - removed as i64);
}

/// Who wants one of its rows waits for no more than the statement under way, and gets in between two.
#[test]
fn others_get_in_between_two_statements() {
    let schema = Schema::new();
    let store = schema.store();
    slow_down(&schema);
    fill(&schema, 2_000);
    thread::scope(|scope| {
        let call = scope.spawn(|| store.prune(u64::MAX).unwrap());
        wait_until("the first to be removed", || schema.count("true") < 2_000);
        // As strong as a lock can be.
        schema.run("BEGIN; LOCK TABLE session IN ACCESS EXCLUSIVE MODE; COMMIT");
        assert!(schema.count("true") > 0);
        assert_eq!(call.join().unwrap(), 2_000);
    });
}

/// A commit that waits for a standby would wait for ever, here.
#[test]
fn no_standby_is_waited_for() {
    let server = Server::start().unwrap();
    let schema = Schema::on(server.url());
    let store = schema.store();
    fill(&schema, 10);
    schema.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    schema.run("ALTER SYSTEM SET synchronous_commit = 'on'");
    schema.run("SELECT pg_reload_conf()");
    wait_until("the settings to hold", || {
        let sql = "SELECT current_setting('synchronous_standby_names') = 'nobody'";
        schema.client().query_one(sql, &[]).unwrap().get(0)
    });
    assert_eq!(store.prune(10).unwrap(), 10);
}
