//! How fast rows are removed, and how long other programs wait.

use std::{sync::Arc, thread, time::Duration};

use session_postgres::{Error, Offload, Pruner, postgres::NoTls};
use throwaway_postgres::Server;
use tokio::runtime::Runtime;

use super::{fill, slow_down};
use crate::support::{database::Schema, patiently, wait_until};

#[test]
fn a_call_that_waits_for_a_table_lock_times_out() {
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

#[test]
fn a_call_in_the_facade_returns_before_its_deadline() {
    let schema = Schema::new();
    let store = schema.store();
    slow_down(&schema);
    fill(&schema, 10_000);
    let store = Offload::builder()
        .timeout(Duration::from_secs(3))
        .build(store);
    let runtime = Runtime::new().unwrap();
    let (before, removed) = patiently(|| {
        wait_until("the last call to end", || store.stats().running == 0);
        let before = schema.count("true") as u64;
        let prune = store.run(|store| store.prune(u64::MAX));
        Ok((before, runtime.block_on(prune)??))
    });
    assert!((1..before).contains(&removed), "{removed}");
    assert_eq!(schema.count("true") as u64, before - removed);
}

/// A transaction that needs the table waits only for the current statement, not for the whole call.
#[test]
fn other_transactions_can_lock_the_table_between_two_statements() {
    let schema = Schema::new();
    let store = schema.store();
    slow_down(&schema);
    fill(&schema, 5_000);
    thread::scope(|scope| {
        let call = scope.spawn(|| store.prune(u64::MAX).unwrap());
        wait_until("the first rows to be removed", || {
            schema.count("true") < 5_000
        });
        // The strongest lock that there is.
        schema.run("BEGIN; LOCK TABLE session IN ACCESS EXCLUSIVE MODE; COMMIT");
        assert!(schema.count("true") > 0);
        assert_eq!(call.join().unwrap(), 5_000);
    });
}

#[test]
fn there_is_a_pause_between_two_statements() {
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
    // The store pauses for 100 ms. The server's clock may measure less.
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

/// No standby is connected, so a commit that waits for one would never end.
#[test]
fn pruning_does_not_wait_for_a_standby() {
    let server = Server::start().unwrap();
    let schema = Schema::on(server.url());
    schema.store();
    let mut waits = schema.config();
    let options = format!("{} -csynchronous_commit=on", waits.get_options().unwrap());
    waits.options(&options);
    let store = schema.builder().connect_with(waits, NoTls).unwrap();
    fill(&schema, 10);
    server.set("synchronous_standby_names", "absent").unwrap();
    assert_eq!(store.prune(10).unwrap(), 10);
}
