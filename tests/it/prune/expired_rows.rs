//! Which rows a call removes.

use std::sync::Arc;

use session_postgres::{Error, Period, PostgresStore, Store, postgres::error::SqlState};

use super::{fill, fill_with_living, often};
use crate::support::{
    database::{OCAML_TABLE, Schema, lock},
    key,
    role::Role,
    wait_until,
};

#[test]
fn only_expired_rows_are_removed() {
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
fn at_most_the_limit_is_removed() {
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

#[test]
fn each_call_scans_the_whole_table_once() {
    let schema = Schema::new();
    let store = schema.store();
    // About 700 blocks. One statement scans 128 of them.
    schema.run("ALTER TABLE session SET (autovacuum_enabled = false)");
    fill_with_living(&schema, 300 * 27);
    fill(&schema, 10);
    fill_with_living(&schema, 400 * 27);
    assert_eq!(store.prune(5).unwrap(), 5);
    // Rows before, at and after the place where that call stopped.
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

    // A table that now ends before the place where the last call stopped.
    fill(&schema, 10);
    assert_eq!(store.prune(5).unwrap(), 5);
    schema.run("TRUNCATE session");
    fill(&schema, 20);
    assert_eq!(store.prune(u64::MAX).unwrap(), 20);
}

#[test]
fn each_call_continues_where_the_last_one_stopped() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run("INSERT INTO session VALUES ('front', now(), 'x')");
    // More blocks than one statement scans.
    fill_with_living(&schema, 300 * 27);
    fill(&schema, 10);
    let mut holder = schema.client();
    let locked = lock(&mut holder, &key("front"));
    assert_eq!(store.prune(5).unwrap(), 5);
    locked.rollback().unwrap();
    assert_eq!(store.prune(5).unwrap(), 5);
    assert_eq!(schema.count("session_key = 'front'"), 1);
    assert_eq!(store.prune(5).unwrap(), 1);
}

#[test]
fn a_partitioned_table_is_pruned() {
    let schema = Schema::new();
    schema.run(
        "CREATE TABLE session (session_key char(40) PRIMARY KEY, \
             expire_date timestamptz NOT NULL, session_data text) PARTITION BY HASH (session_key); \
         CREATE TABLE session_0 PARTITION OF session FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE session_1 PARTITION OF session FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    );
    let store = schema.builder().from_pool(schema.pool(2));
    fill(&schema, 10_000);
    // In one partition, every second block has only rows that have not expired. The other partition has
    // expired rows in the blocks of the same numbers.
    schema.run(
        "UPDATE session_1 SET expire_date = now() + interval '1 day' \
         WHERE (ctid::text::point)[0]::int % 2 = 0",
    );
    let living = schema.count("expire_date > now()");
    assert_eq!(store.prune(500).unwrap(), 500);
    // The call neither waits for locked rows nor scans the other partition twice.
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
    schema.run(OCAML_TABLE);
    fill(&schema, 10);
    let store = Arc::new(PostgresStore::from_client(schema.client()));
    assert_eq!(store.prune(4).unwrap(), 4);
    let pruner = often().start(store);
    wait_until("the other rows to be removed", || {
        pruner.stats().removed == 6
    });
    assert_eq!(schema.count("true"), 0);
}

#[test]
fn a_missing_table_and_a_missing_privilege_are_reported() {
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
    wait_until("the pruner to succeed", || pruner.stats().removed == 10);
    wait_until("the pass to end", || pruner.stats().last_error.is_none());
    drop(pruner);
}
