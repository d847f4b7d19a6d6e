//! The number of statements that remain prepared on a connection.

use session_postgres::{Error, Store};

use crate::support::{database::Schema, key};

#[test]
fn stores_with_many_tables_keep_at_most_256_statements_prepared() {
    const TABLES: usize = 300;
    let schema = Schema::new();
    schema.store();
    schema.run(&format!(
        "DO $$ BEGIN FOR i IN 1..{TABLES} LOOP \
             EXECUTE format('CREATE TABLE session_%s (LIKE session INCLUDING ALL)', i); \
         END LOOP; END $$"
    ));
    let pool = schema.pool(1);
    for table in 1..=TABLES {
        let store = schema.builder().table(&format!("session_{table}")).unwrap();
        let found = store.from_pool(pool.clone()).get(&key("unknown"));
        assert!(matches!(found, Err(Error::NotFound)), "{found:?}");
    }
    let mut client = pool.get().unwrap();
    let kept = "SELECT count(*) FROM pg_prepared_statements";
    let kept: i64 = client.query_one(kept, &[]).unwrap().get(0);
    // The query that counts the statements is one of them.
    assert!((1..=257).contains(&kept), "{kept}");
}
