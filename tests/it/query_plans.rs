//! How the server executes the statements on a large table.

use session_postgres::{Key, Period, SessionFields, Store};

use crate::support::{
    database::{OCAML_TABLE, Schema},
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
