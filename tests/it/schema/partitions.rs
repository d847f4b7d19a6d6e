//! `create_table` with partitions.

use std::panic::catch_unwind;

use session_postgres::{Columns, PostgresStore, ValueType};

use super::every_verb;
use crate::support::database::Schema;

/// The columns, indexes and constraints of the table and its partitions, and how it is partitioned.
const DEFINITION: &str = "SELECT relname::text, relkind::text, reloptions::text, pg_get_partkeydef(oid), \
         pg_get_expr(relpartbound, oid), \
         ARRAY(SELECT attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull \
                      || coalesce((SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef \
                                   WHERE adrelid = attrelid AND adnum = attnum), '') \
               FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0 ORDER BY attnum), \
         ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = pg_class.oid ORDER BY 1), \
         ARRAY(SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint \
               WHERE conrelid = pg_class.oid ORDER BY 1) \
     FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind IN ('r', 'p') ORDER BY relname";

pub(super) fn definition(schema: &Schema) -> String {
    let sql = format!("SELECT row_to_json(found)::text FROM ({DEFINITION}) AS found");
    let rows = schema.client().query(&sql, &[&schema.quoted()]).unwrap();
    assert_eq!(rows.len(), 9);
    let rows = rows.iter().map(|row| row.get::<_, String>(0));
    let text = rows.collect::<Vec<_>>().join("\n");
    text.replace(&schema.quoted().replace('"', "\\\""), "here")
}

#[test]
fn create_table_creates_the_partitioned_table_of_the_script() {
    let (scripted, created) = (Schema::new(), Schema::new());
    // Both can be repeated.
    for _ in 0..2 {
        scripted.run(include_str!("../../../sql/partitioned.sql"));
        let builder = created.builder().partitions(8);
        builder.from_pool(created.pool(1)).create_table().unwrap();
    }
    assert_eq!(definition(&scripted), definition(&created));
    scripted
        .builder()
        .from_pool(scripted.pool(1))
        .check()
        .unwrap();
}

#[test]
fn a_partitioned_table_may_have_any_names_and_types() {
    let odd = Columns {
        key: "{key} WITH (fillfactor = 90)",
        expiry: "session_key",
        value: "session_data text",
        created_at: "owner",
        owner: "$1 \"",
    };
    for (columns, name) in [(odd, "{table} \"'; --"), (Columns::default(), "session")] {
        let schema = Schema::new();
        let builder = schema.builder().table(name).unwrap().columns(columns);
        let builder = builder.unwrap().partitions(3);
        for (name, builder) in [
            ("json", builder.clone().value_type(ValueType::Json)),
            ("hashed", builder.clone().hash_keys(true)),
        ] {
            let store = builder.table(name).unwrap().from_pool(schema.pool(1));
            store.create_table().unwrap();
            store.check().unwrap();
        }
        let store = builder.from_pool(schema.pool(1));
        store.create_table().unwrap();
        store.check().unwrap();
        every_verb(&store);
    }
}

#[test]
fn the_name_of_the_table_is_cut_in_the_names_of_its_partitions() {
    let schema = Schema::new();
    // The character of two bytes does not fit into the name of the eleventh partition.
    let start = "x".repeat(58);
    let name = format!("{start}\u{fc}xx");
    let builder = schema.builder().table(&name).unwrap().partitions(11);
    builder.from_pool(schema.pool(1)).create_table().unwrap();
    let sql = "SELECT relname::text FROM pg_class \
               WHERE relnamespace = $1::text::regnamespace AND relkind = 'r' ORDER BY oid";
    let rows = schema.client().query(sql, &[&schema.quoted()]).unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let expected: Vec<_> = (0..10)
        .map(|number| format!("{start}\u{fc}_p{number}"))
        .chain([format!("{start}_p10")])
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn no_partitions_and_too_many_are_rejected() {
    for count in [0, 65, u32::MAX] {
        assert!(catch_unwind(|| PostgresStore::builder().partitions(count)).is_err());
    }
    let _ = PostgresStore::builder().partitions(64);
}
