//! What `check` reports, each on a table that has the fault, and what it does not report.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use session_postgres::{
    Error, PostgresStore, Store,
    postgres::{Client, Config, NoTls},
};

use crate::support::database::url;

/// A database of a test's own, for what concerns a whole database; dropped with the test.
struct Database {
    name: String,
}

impl Database {
    fn new(options: &str) -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("check_{}_{count}", process::id());
        let sql = format!("CREATE DATABASE {name} {options}");
        Client::connect(url(), NoTls)
            .unwrap()
            .batch_execute(&sql)
            .unwrap();
        Database { name }
    }

    fn client(&self) -> Client {
        let mut config: Config = url().parse().unwrap();
        config.dbname(&self.name).connect(NoTls).unwrap()
    }

    fn run(&self, sql: &str) {
        self.client().batch_execute(sql).unwrap();
    }

    fn store(&self) -> PostgresStore {
        PostgresStore::from_client(self.client())
    }

    fn problems(&self) -> Vec<String> {
        match self.store().check() {
            Ok(()) => Vec::new(),
            Err(Error::UnfitTable { problems, .. }) => problems,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn version(&self) -> i32 {
        let sql = "SELECT current_setting('server_version_num')::int4";
        self.client().query_one(sql, &[]).unwrap().get(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let _ = Client::connect(url(), NoTls).map(|mut client| client.batch_execute(&sql));
    }
}

/// The columns of a table without an index.
const COLUMNS: &str = "session_key char(40), expire_date timestamptz (2), session_data text";

#[test]
fn a_nondeterministic_collation_of_the_key_is_reported() {
    let database = Database::new("");
    let collation = "CREATE COLLATION \"any case\" \
        (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    if let Err(error) = database.client().batch_execute(collation) {
        assert_eq!(error.code().unwrap().code(), "0A000", "{error}");
        eprintln!("skipped: this PostgreSQL is built without ICU");
        return;
    }
    for (key, expected) in [
        ("char(40) COLLATE \"any case\"", 1),
        ("text COLLATE \"any case\"", 1),
        ("text COLLATE \"C\"", 0),
        ("text", 0),
    ] {
        database.run(&format!(
            "DROP TABLE IF EXISTS session; CREATE TABLE session (session_key {key} PRIMARY KEY, \
                 expire_date timestamptz (2), session_data text)"
        ));
        let problems = database.problems();
        assert_eq!(problems.len(), expected, "{key}: {problems:?}");
        for problem in problems {
            assert_eq!(
                problem,
                "column session_key has the nondeterministic collation \"any case\", by which two keys can \
                 be equal, it should have a deterministic one, such as \"C\""
            );
        }
    }
}

#[test]
fn a_database_of_another_encoding_is_reported() {
    for (encoding, expected) in [
        ("UTF8", &[] as &[&str]),
        (
            "SQL_ASCII",
            &["the encoding of the database is SQL_ASCII, it should be UTF8"],
        ),
        (
            "LATIN1",
            &["the encoding of the database is LATIN1, it should be UTF8"],
        ),
    ] {
        let database = Database::new(&format!(
            "ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        ));
        database.store().create_table().unwrap();
        assert_eq!(database.problems(), expected);
    }
}

#[test]
fn what_is_no_table_is_reported_and_nothing_else_of_it() {
    let database = Database::new("");
    database.run(&format!(
        "CREATE TABLE sessions ({COLUMNS}); \
         CREATE FOREIGN DATA WRAPPER dummy; CREATE SERVER far FOREIGN DATA WRAPPER dummy"
    ));
    for (create, expected) in [
        (
            "VIEW session AS SELECT * FROM sessions".to_owned(),
            "it is a view, it should be a table",
        ),
        (
            "MATERIALIZED VIEW session AS SELECT * FROM sessions".to_owned(),
            "it is a materialized view, it should be a table",
        ),
        (
            format!("FOREIGN TABLE session ({COLUMNS}) SERVER far"),
            "it is a foreign table, it should be a table",
        ),
        (
            "SEQUENCE session".to_owned(),
            "it is no table, it should be a table",
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
            "its partition {name} is a foreign table, it should be a table of this server, because sessions \
             can be lost there without an error"
        )
    });
    assert_eq!(database.problems(), expected);
}

/// With a catalog like that of Citus, because few servers have Citus.
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
            "it is distributed by Citus, which refuses the store's statements, it should be a local table"
        ]
    );
}

/// What `check` reports is what the server does, for publications of every kind.
#[test]
fn a_publication_without_a_replica_identity_that_fits_is_reported() {
    const UNIDENTIFIED: &str = "it is published without a replica identity";
    const UNFIT: &str = "the column list or the row filter of a publication";
    let database = Database::new("");
    let plain =
        format!("CREATE TABLE session ({COLUMNS}); CREATE INDEX ON session (session_key); ");
    let keyed = format!("CREATE TABLE session ({COLUMNS}, PRIMARY KEY (session_key)); ");
    let split = format!(
        "CREATE TABLE session ({COLUMNS}) PARTITION BY HASH (session_key); \
         CREATE INDEX ON session (session_key); \
         CREATE TABLE one PARTITION OF session FOR VALUES WITH (MODULUS 1, REMAINDER 0); "
    );
    let both = &["UPDATE", "DELETE"] as &[&str];
    let cases = [
        (14, &plain, "FOR TABLE session", UNIDENTIFIED, both),
        (14, &plain, "FOR ALL TABLES", UNIDENTIFIED, both),
        (
            15,
            &plain,
            "FOR TABLES IN SCHEMA public",
            UNIDENTIFIED,
            both,
        ),
        (
            14,
            &plain,
            "FOR TABLE session WITH (publish = 'update')",
            UNIDENTIFIED,
            &["UPDATE"],
        ),
        (
            14,
            &plain,
            "FOR TABLE session WITH (publish = 'delete')",
            UNIDENTIFIED,
            &["DELETE"],
        ),
        (
            14,
            &plain,
            "FOR TABLE session WITH (publish = 'insert')",
            "",
            &[],
        ),
        (
            14,
            &plain,
            "FOR TABLE session; ALTER TABLE session REPLICA IDENTITY FULL",
            "",
            &[],
        ),
        (14, &keyed, "FOR TABLE session", "", &[]),
        (
            14,
            &keyed,
            "FOR TABLE session; ALTER TABLE session REPLICA IDENTITY NOTHING",
            UNIDENTIFIED,
            both,
        ),
        (15, &keyed, "FOR TABLE session (session_data)", UNFIT, both),
        (
            15,
            &keyed,
            "FOR TABLE session WHERE (session_data IS NOT NULL)",
            UNFIT,
            both,
        ),
        (14, &split, "FOR TABLE session", UNIDENTIFIED, both),
        (14, &split, "FOR TABLE one", UNIDENTIFIED, both),
        (
            14,
            &split,
            "FOR TABLE session WITH (publish_via_partition_root)",
            UNIDENTIFIED,
            both,
        ),
        (
            14,
            &split,
            "FOR TABLE session; ALTER TABLE one REPLICA IDENTITY FULL; \
             ALTER TABLE session REPLICA IDENTITY FULL",
            "",
            &[],
        ),
    ];
    let version = database.version();
    for (since, table, publication, reason, refused) in cases {
        if version < since * 10_000 {
            continue;
        }
        database.run(&format!(
            "{table} CREATE PUBLICATION published {publication}"
        ));
        let problems = database.problems();
        assert_eq!(problems.len(), refused.len(), "{publication}: {problems:?}");
        for (problem, verb) in problems.iter().zip(refused) {
            assert!(problem.starts_with(reason), "{publication}: {problem}");
            assert!(
                problem.contains(&format!("the server refuses {verb}, ")),
                "{publication}: {problem}"
            );
        }
        let store = database.store();
        let key = store.generate(Some("lobster"), None).unwrap();
        for (verb, outcome) in [
            ("UPDATE", store.set(&key, "crab", None)),
            ("DELETE", store.clear(&key)),
        ] {
            let is_refused = refused.contains(&verb);
            assert_eq!(outcome.is_err(), is_refused, "{publication}: {outcome:?}");
        }
        database.run("DROP PUBLICATION published; DROP TABLE session");
    }
}

#[test]
fn faults_of_every_kind_are_reported_together() {
    let database =
        Database::new("ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    database.run(
        "CREATE TABLE session (session_key text, expire_date date, session_data text); \
         CREATE PUBLICATION published FOR TABLE session",
    );
    let problems = database.problems();
    for part in [
        "expire_date is date",
        "SQL_ASCII",
        "no index",
        "refuses UPDATE",
        "refuses DELETE",
    ] {
        assert_eq!(
            problems.iter().filter(|p| p.contains(part)).count(),
            1,
            "{part}: {problems:?}"
        );
    }
    assert_eq!(problems.len(), 5, "{problems:?}");
}
