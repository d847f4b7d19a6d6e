//! How the server executes the statements on a large table.

use session_postgres::{Error, Key, Period, SessionFields, Store};

use crate::support::{
    database::{OCAML_TABLE, Schema},
    verbs::{VERBS, of_owner},
    wait_until,
};

/// A restored table is like this. The planner must assume that a key has many rows.
#[test]
fn no_verb_scans_a_table_that_was_never_analysed() {
    let schema = Schema::new();
    schema.run(OCAML_TABLE);
    schema.run(
        "ALTER TABLE session SET (autovacuum_enabled = false); \
         INSERT INTO session SELECT md5(i::text), now() + interval '1 day', 'x' \
         FROM generate_series(1, 200000) AS i",
    );
    for prepared in [true, false] {
        let store = schema
            .builder()
            .prepared(prepared)
            .from_client(schema.client());
        let scans = |kind: &str| -> i64 {
            let sql = format!(
                "SELECT {kind}_scan FROM pg_stat_all_tables \
                 WHERE relid = 'session'::regclass"
            );
            schema.client().query_one(&sql, &[]).unwrap().get(0)
        };
        let (seq, idx) = (scans("seq"), scans("idx"));
        for _ in 0..8 {
            let made = store.generate_many(&[
                SessionFields::new(Some("a"), None),
                SessionFields::new(Some("b"), None),
            ]);
            let keys: Vec<_> = made.iter().map(|key| key.as_ref().unwrap()).collect();
            assert!(store.set_many(&[(keys[0], "a", None), (keys[1], "b", None)])[1].is_ok());
            assert!(store.touch_many(&[(keys[0], None), (keys[1], None)])[0].is_ok());
            assert!(store.get_many(&keys).iter().all(Result::is_ok));
            let key = Key::generate().unwrap();
            store.insert(&key, None, Some(Period::ZERO)).unwrap();
            assert!(store.insert_many(&[(&key, Some("c"), None)])[0].is_ok());
            store.set(&key, "lobster", None).unwrap();
            store.touch(&key, None).unwrap();
            store
                .update(&key, None, &mut |_| Some("crab".into()))
                .unwrap();
            assert!(store.clear_many(&keys).iter().all(Result::is_ok));
            let key = store.rotate(&key).unwrap();
            assert_eq!(store.get(&key).unwrap().value, "crab");
            store.clear(&key).unwrap();
        }
        // The server counts a connection's scans at the latest when it ends.
        drop(store);
        wait_until("the server to count the scans", || {
            scans("idx") >= idx + 8 * 12
        });
        assert_eq!(scans("seq"), seq, "prepared: {prepared}");
    }
}

/// The server keeps the plan of a prepared statement while the table grows, until it analyses the table again.
#[test]
fn no_batch_that_writes_scans_a_small_table() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        schema.run("ALTER TABLE session SET (autovacuum_enabled = false)");
        let store = || schema.builder().from_client(schema.client());
        let made = store().generate_many(&[SessionFields::new(Some("lobster"), None); 20]);
        let keys: Vec<_> = made.iter().map(|key| key.as_ref().unwrap()).collect();
        let count = |what: &str| -> i64 {
            let sql =
                format!("SELECT {what} FROM pg_stat_all_tables WHERE relid = 'session'::regclass");
            schema.client().query_one(&sql, &[]).unwrap().get(0)
        };
        // The index was built by a scan, which the server counts before the rows.
        wait_until("the server to count the rows", || count("n_tup_ins") == 20);
        schema.run("VACUUM ANALYZE session");
        let (seq, idx) = (count("seq_scan"), count("idx_scan"));
        let store = store();
        for _ in 0..8 {
            let sets: Vec<_> = keys.iter().map(|key| (*key, "crab", None)).collect();
            assert!(store.set_many(&sets).iter().all(Result::is_ok));
            let touches: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
            assert!(store.touch_many(&touches).iter().all(Result::is_ok));
        }
        assert!(store.clear_many(&keys).iter().all(Result::is_ok));
        // The server counts a connection's scans at the latest when it ends.
        drop(store);
        wait_until("the server to count the scans", || {
            count("seq_scan") > seq || count("idx_scan") >= idx + 17 * 20
        });
        assert_eq!(count("seq_scan"), seq, "legacy: {legacy}");
    }
}

/// Runs every verb several times on a large table. The server plans a prepared statement without its parameters from the
/// sixth time on.
fn assert_no_verb_scans(columns: &str, hashes: bool) {
    let schema = Schema::new();
    let key = if hashes {
        "session_key_hash"
    } else {
        "session_key"
    };
    schema.run(&format!(
        "CREATE TABLE session ({key} {columns}, expire_date timestamptz (2), session_data text, \
             created_at timestamptz DEFAULT now(), owner text) WITH (autovacuum_enabled = false); \
         CREATE INDEX ON session (owner) WHERE owner IS NOT NULL; \
         INSERT INTO session SELECT md5(i::text), now() + interval '1 day', 'x', now(), \
             CASE WHEN i % 2 = 0 THEN md5((i % 5000)::text) END \
         FROM generate_series(1, 100000) AS i"
    ));
    let count = |what: &str| -> i64 {
        let sql =
            format!("SELECT {what} FROM pg_stat_all_tables WHERE relid = 'session'::regclass");
        schema.client().query_one(&sql, &[]).unwrap().get(0)
    };
    let scans = |kind: &str| count(&format!("{kind}_scan"));
    // The indexes were built by scans, which the server counts together with the rows.
    wait_until("the server to count the rows", || {
        count("n_tup_ins") == 100_000
    });
    for (prepared, max_age) in [
        (true, None),
        (false, None),
        (true, Some(Period::HOUR)),
        (false, Some(Period::HOUR)),
    ] {
        let builder = schema.builder().prepared(prepared).hash_keys(hashes);
        let store = builder.max_age(max_age).from_client(schema.client());
        let (seq, idx) = (scans("seq"), scans("idx"));
        for _ in 0..8 {
            for (name, verb) in VERBS {
                let key = store.generate_with(of_owner("crab")).unwrap();
                verb(&store, &key).unwrap_or_else(|e| panic!("{name}: {e:?}"));
                store.clear_owned("crab", None).unwrap();
            }
            store
                .transaction(|tx| {
                    let key = tx.generate_with(of_owner("prawn"))?;
                    tx.set(&key, "x", None)?;
                    tx.renew(&key, Some(Period::DAY * 30))?;
                    let key = tx.rotate(&key)?;
                    assert_eq!(tx.owned("prawn")?.len(), 1);
                    tx.update(&key, None, |_| Some("y".to_owned()))?;
                    tx.clear(&key)
                })
                .unwrap_or_else(|e: Error| panic!("{e:?}"));
        }
        // The server counts a connection's scans at the latest when it ends.
        drop(store);
        wait_until("the server to count the scans", || {
            scans("idx") >= idx + 8 * VERBS.len() as i64
        });
        assert_eq!(
            scans("seq"),
            seq,
            "{columns}, prepared: {prepared}, {max_age:?}"
        );
    }
}

#[test]
fn no_verb_scans_a_table_whose_keys_are_char() {
    assert_no_verb_scans("char(40) PRIMARY KEY", false);
}

#[test]
fn no_verb_scans_a_table_whose_keys_are_varchar() {
    assert_no_verb_scans("varchar(255) PRIMARY KEY", false);
}

#[test]
fn no_verb_scans_a_table_whose_keys_are_text() {
    assert_no_verb_scans("text PRIMARY KEY", false);
}

#[test]
fn no_verb_scans_a_table_whose_keys_are_hashed() {
    assert_no_verb_scans("char(40) PRIMARY KEY", true);
}

#[test]
fn no_statement_of_pruning_scans_the_whole_table() {
    for prepared in [true, false] {
        let schema = Schema::new();
        schema.run(OCAML_TABLE);
        schema.run(
            "ALTER TABLE session SET (autovacuum_enabled = false); \
             INSERT INTO session \
             SELECT md5(i::text), now() + (i % 10 - 1) * interval '1 day', repeat('x', 200) \
             FROM generate_series(1, 100000) AS i",
        );
        let store = schema
            .builder()
            .prepared(prepared)
            .from_client(schema.client());
        let count = |what: &str| -> i64 {
            let sql =
                format!("SELECT {what} FROM pg_stat_all_tables WHERE relid = 'session'::regclass");
            schema.client().query_one(&sql, &[]).unwrap().get(0)
        };
        wait_until("the server to count the new rows", || {
            count("n_tup_ins") == 100_000
        });
        let before = count("seq_scan");
        assert_eq!(store.prune(5_000).unwrap(), 5_000);
        assert_eq!(store.prune(u64::MAX).unwrap(), 15_000);
        assert_eq!(store.prune(u64::MAX).unwrap(), 0);
        drop(store);
        wait_until("the server to count the removed rows", || {
            count("n_tup_del") == 20_000
        });
        assert_eq!(count("seq_scan"), before, "prepared: {prepared}");
    }
}

/// A statement for one session executes as many index scans as on a table without partitions. The server plans a prepared
/// statement without its parameters from the sixth time on.
#[test]
fn a_statement_for_one_session_reads_one_partition() {
    // These read all partitions, because they have no key.
    const OF_OWNERS: [&str; 3] = ["owned", "clear_owned", "clear_handle"];
    // It begins a transaction, but all calls are in one, because only that shows its scans at once.
    const UPDATE: &str = "update";
    let scans = |prepared: bool, partitions: Option<u32>| -> Vec<(&str, i64)> {
        let schema = Schema::new();
        let builder = match partitions {
            Some(count) => schema.builder().partitions(count),
            None => schema.builder(),
        };
        builder
            .clone()
            .from_pool(schema.pool(1))
            .create_table()
            .unwrap();
        let mut client = schema.client();
        client
            .batch_execute("SET enable_seqscan = off; BEGIN")
            .unwrap();
        let store = builder.prepared(prepared).from_client(client);
        let count = || -> i64 {
            let sql = "SELECT sum(seq_scan + coalesce(idx_scan, 0))::int8 FROM pg_stat_xact_all_tables \
                       WHERE schemaname = $1";
            let count = store.with_client(|client| client.query_one(sql, &[&schema.name()]));
            count.unwrap().unwrap().get(0)
        };
        let verbs = VERBS
            .into_iter()
            .filter(|(name, _)| !OF_OWNERS.contains(name) && *name != UPDATE);
        let counted = verbs.map(|(name, verb)| {
            let before = count();
            for _ in 0..8 {
                let key = store.generate(Some("crab"), None).unwrap();
                verb(&store, &key).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            }
            (name, count() - before)
        });
        counted.collect()
    };
    for prepared in [true, false] {
        assert_eq!(
            scans(prepared, Some(8)),
            scans(prepared, None),
            "prepared: {prepared}"
        );
    }
}
