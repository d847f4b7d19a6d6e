//! The problems that `check` reports, each on a table that has it.

mod columns;
mod kind_of_table;
mod publications;
mod servers;

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use session_postgres::{
    Error, PostgresStore,
    postgres::{Client, Config, NoTls},
};

use crate::support::database::url;

/// A database of one test, dropped at its end.
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

/// The columns of a correct table, without an index.
const COLUMNS: &str = "session_key char(40), expire_date timestamptz (2), session_data text";

#[test]
fn problems_of_different_kinds_are_reported_together() {
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
