//! Columns, their index, their collation and the encoding of the database.

use session_postgres::{Error, Store};

use super::Database;
use crate::support::database::Schema;

#[test]
fn a_wrong_column_is_reported_with_what_it_should_be() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(schema.pool(1));
    let good = [
        "session_key char(40) PRIMARY KEY",
        "expire_date timestamptz(2)",
        "session_data text",
    ];
    let no_index = "no index begins with session_key, so each call reads the whole table";
    let no_owner_index = "no index begins with owner, so `owned` and `clear_owned` read the whole table: see \
                          sql/add-columns.sql";
    let cases: [(usize, &str, &[&str]); 21] = [
        (
            0,
            "session_key char(39) PRIMARY KEY",
            &["session_key is character(39), but must be char(40), varchar(40) or longer, or text"],
        ),
        (
            0,
            "session_key bytea PRIMARY KEY",
            &["session_key is bytea, but must be char(40), varchar(40) or longer, or text"],
        ),
        (
            0,
            "session_key char PRIMARY KEY",
            &["session_key is character(1), but must be char(40), varchar(40) or longer, or text"],
        ),
        (
            0,
            "session_key varchar(39) PRIMARY KEY",
            &[
                "session_key is character varying(39), but must be char(40), varchar(40) or longer, or text",
            ],
        ),
        (
            0,
            "session_key text PRIMARY KEY DEFERRABLE",
            &["a unique constraint of it is DEFERRABLE, so no session can be inserted"],
        ),
        (
            2,
            "raw text, session_data text GENERATED ALWAYS AS (raw) STORED",
            &["session_data is generated, so nothing can be stored in it"],
        ),
        (0, "session_key text", &[no_index]),
        (
            0,
            "key text",
            &[
                "session_key of type char(40), varchar(40) or longer, or text is missing",
                no_index,
            ],
        ),
        (
            1,
            "expire_date timestamp",
            &[
                "expire_date is timestamp without time zone, but must be timestamp (2) with time zone",
            ],
        ),
        (
            1,
            "expire_date date",
            &["expire_date is date, but must be timestamp (2) with time zone"],
        ),
        (
            2,
            "session_data varchar(9)",
            &["session_data is character varying(9), but must be text"],
        ),
        (
            2,
            "session_data jsonb",
            &["session_data is jsonb, but must be text"],
        ),
        (
            2,
            "session_data text, tenant int NOT NULL",
            &["tenant is NOT NULL without a default, so no session can be added"],
        ),
        (
            2,
            "session_data text, owner int",
            &[
                "owner is integer, but must be text, or set another name by `columns` if it has another meaning",
                no_owner_index,
            ],
        ),
        (
            2,
            "session_data text, owner char(255)",
            &[
                "owner is character(255), but must be text, or set another name by `columns` if it has another meaning",
                no_owner_index,
            ],
        ),
        (
            2,
            "session_data text, owner varchar(254)",
            &[
                "owner is character varying(254), but must be text, or set another name by `columns` if it has another meaning",
                no_owner_index,
            ],
        ),
        (
            2,
            "session_data text, owner text UNIQUE NOT NULL",
            &["owner is NOT NULL, so no session can be without an owner"],
        ),
        (
            2,
            "session_data text, created_at timestamp DEFAULT now()",
            &[
                "created_at is timestamp without time zone, but must be timestamp with time zone, or set another name by `columns` if it has another meaning",
            ],
        ),
        (
            2,
            "session_data text, created_at timestamptz",
            &[
                "created_at has no default, so the age of new sessions is unknown: set its default to now()",
            ],
        ),
        (
            2,
            "session_data text NOT NULL",
            &["session_data is NOT NULL, so no session can be unset"],
        ),
        (
            1,
            "expire_date timestamptz(1)",
            &[
                "expire_date is timestamp(1) with time zone, but must be timestamp (2) with time zone",
            ],
        ),
    ];
    for (place, column, expected) in cases {
        let mut columns = good;
        columns[place] = column;
        let columns = columns.join(", ");
        schema.run(&format!(
            "DROP TABLE IF EXISTS session; CREATE TABLE session ({columns})"
        ));
        let Err(Error::UnfitTable { problems, .. }) = store.check() else {
            panic!("{column} was accepted");
        };
        let problems: Vec<_> = problems
            .iter()
            .map(|p| p.trim_start_matches("column "))
            .collect();
        assert_eq!(problems, expected);
    }
    let columns = good.join(", ");
    for more in [
        "",
        ", tenant int",
        ", tenant int NOT NULL DEFAULT 0",
        ", id bigserial NOT NULL",
        ", created_at timestamptz(0) NOT NULL DEFAULT now()",
        ", owner varchar(255) UNIQUE",
    ] {
        schema.run(&format!(
            "DROP TABLE session; CREATE TABLE session ({columns}{more})"
        ));
        store.check().unwrap();
        store.generate(None, None).unwrap();
    }
    for key in ["varchar(40)", "varchar(255)", "varchar", "char(64)", "text"] {
        schema.run(&format!(
            "DROP TABLE session; CREATE TABLE session (session_key {key} PRIMARY KEY, \
                 expire_date timestamptz(2), session_data text)"
        ));
        store.check().unwrap();
    }
    // This setting changes how the server writes the names of types.
    let mut quoting = schema.client();
    quoting
        .batch_execute("SET quote_all_identifiers = on")
        .unwrap();
    schema.builder().from_client(quoting).check().unwrap();
}

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
                "column session_key has the nondeterministic collation \"any case\", but must have a \
                 deterministic one, such as \"C\", because different texts can be equal otherwise"
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
            &["the encoding of the database is SQL_ASCII, but must be UTF8"],
        ),
        (
            "LATIN1",
            &["the encoding of the database is LATIN1, but must be UTF8"],
        ),
    ] {
        let database = Database::new(&format!(
            "ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        ));
        database.store().create_table().unwrap();
        assert_eq!(database.problems(), expected);
    }
}
