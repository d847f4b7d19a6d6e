//! Views, foreign tables and other relations that cannot be used as the table.

use super::{COLUMNS, Database};

#[test]
fn a_relation_that_is_no_table_is_the_only_problem_reported() {
    let database = Database::new("");
    database.run(&format!(
        "CREATE TABLE sessions ({COLUMNS}); \
         CREATE FOREIGN DATA WRAPPER dummy; CREATE SERVER far FOREIGN DATA WRAPPER dummy"
    ));
    for (create, expected) in [
        (
            "VIEW session AS SELECT * FROM sessions".to_owned(),
            "it is a view, but must be a table",
        ),
        (
            "MATERIALIZED VIEW session AS SELECT * FROM sessions".to_owned(),
            "it is a materialized view, but must be a table",
        ),
        (
            format!("FOREIGN TABLE session ({COLUMNS}) SERVER far"),
            "it is a foreign table, but must be a table",
        ),
        (
            "SEQUENCE session".to_owned(),
            "it is another kind of relation, but must be a table",
        ),
    ] {
        let mut client = database.client();
        let mut transaction = client.transaction().unwrap();
        transaction
            .batch_execute(&format!("CREATE {create}"))
            .unwrap();
        transaction.commit().unwrap();
        assert_eq!(database.problems(), [expected]);
        let kind = create.split(" session").next().unwrap();
        client
            .batch_execute(&format!("DROP {kind} session"))
            .unwrap();
    }
}

#[test]
fn a_partition_that_is_a_foreign_table_is_reported_at_any_depth() {
    let database = Database::new("");
    database.run(&format!(
        "CREATE TABLE session ({COLUMNS}) PARTITION BY LIST (left(session_key, 1)); \
         CREATE INDEX ON session (session_key); \
         CREATE TABLE near PARTITION OF session FOR VALUES IN ('A'); \
         CREATE TABLE inner_one PARTITION OF session DEFAULT PARTITION BY LIST (left(session_key, 2)); \
         CREATE TABLE inner_near PARTITION OF inner_one DEFAULT"
    ));
    assert_eq!(database.problems(), [""; 0]);
    database.run(
        "CREATE FOREIGN DATA WRAPPER dummy; CREATE SERVER far FOREIGN DATA WRAPPER dummy; \
         CREATE FOREIGN TABLE \"Far 1\" PARTITION OF inner_one FOR VALUES IN ('BB') SERVER far; \
         CREATE FOREIGN TABLE \"Far 2\" PARTITION OF session FOR VALUES IN ('C') SERVER far",
    );
    let expected = ["\"Far 1\"", "\"Far 2\""].map(|name| {
        format!(
            "its partition {name} is a foreign table, but must be a table of this server, because sessions \
             can be lost there without an error"
        )
    });
    assert_eq!(database.problems(), expected);
}

/// The test imitates the catalog of Citus, because few servers have Citus.
#[test]
fn a_table_that_citus_distributes_is_reported() {
    let database = Database::new("");
    database.run(
        "SET allow_system_table_mods = on; \
         CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass PRIMARY KEY)",
    );
    let store = database.store();
    store.create_table().unwrap();
    store.check().unwrap();
    database.run("INSERT INTO pg_catalog.pg_dist_partition VALUES ('session')");
    assert_eq!(
        database.problems(),
        [
            "it is distributed by Citus, but must be a local table, because Citus refuses the store's statements"
        ]
    );
}
