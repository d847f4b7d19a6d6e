//! The server that the tests share, and a schema for each test.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use session_postgres::{
    Key, PostgresStore, PostgresStoreBuilder,
    postgres::{Client, Config, IsolationLevel, NoTls, Transaction},
    r2d2::Pool,
};
use throwaway_postgres::Database;

use super::patiently;

pub(crate) type Manager = r2d2_postgres::PostgresConnectionManager<NoTls>;

/// The table of OCaml's session-postgresql.
pub(crate) const OCAML_TABLE: &str = include_str!("../../../sql/ocaml.sql");
/// Turns the table of OCaml's session-postgresql into the recommended one.
pub(crate) const UPGRADE: &str = include_str!("../../../sql/upgrade.sql");

/// The connection string of the server that the tests share.
pub(crate) fn url() -> &'static str {
    static DATABASE: OnceLock<Database> = OnceLock::new();
    DATABASE.get_or_init(|| Database::open().unwrap()).url()
}

/// A schema for one test. It is dropped with the test. Its name needs quotes.
pub(crate) struct Schema {
    name: String,
    url: String,
}

impl Schema {
    pub(crate) fn new() -> Schema {
        Schema::on(url())
    }

    /// A schema on the server with this connection string.
    pub(crate) fn on(url: &str) -> Schema {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("Test \"{}\" {count}", std::process::id());
        let schema = Schema {
            name,
            url: url.to_owned(),
        };
        let sql = format!("CREATE SCHEMA {}", schema.quoted());
        Client::connect(url, NoTls)
            .unwrap()
            .batch_execute(&sql)
            .unwrap();
        schema
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn quoted(&self) -> String {
        format!("\"{}\"", self.name.replace('"', "\"\""))
    }

    /// A configuration whose `search_path` is this schema.
    pub(crate) fn config(&self) -> Config {
        let mut config: Config = self.url.parse().unwrap();
        let path = self.quoted().replace('\\', "\\\\").replace(' ', "\\ ");
        config.options(&format!("-csearch_path={path}"));
        config
    }

    /// The same as [`Schema::config`], as a connection string for other programs.
    pub(crate) fn url(&self) -> String {
        let config = self.config();
        let options = config.get_options().unwrap();
        if self.url.contains("://") {
            let options: String = options.bytes().map(|b| format!("%{b:02X}")).collect();
            let next = if self.url.contains('?') { '&' } else { '?' };
            format!("{}{next}options={options}", self.url)
        } else {
            let options = options.replace('\\', "\\\\").replace('\'', "\\'");
            format!("{} options='{options}'", self.url)
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.config().connect(NoTls).unwrap()
    }

    /// Runs SQL. Its `search_path` is this schema.
    pub(crate) fn run(&self, sql: &str) {
        self.client().batch_execute(sql).unwrap();
    }

    /// Creates the recommended table, or that of OCaml's session-postgresql.
    pub(crate) fn create_table(&self, legacy: bool) {
        if legacy {
            self.run(OCAML_TABLE);
        } else {
            self.store();
        }
    }

    /// The number of sessions that match.
    pub(crate) fn count(&self, condition: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM session WHERE {condition}");
        self.client().query_one(&sql, &[]).unwrap().get(0)
    }

    /// The number of statements that name this schema and that the server executes now. A statement that
    /// waits for a lock counts.
    pub(crate) fn active(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                   WHERE state = 'active' AND pid <> pg_backend_pid() AND strpos(query, $1) > 0";
        let mut client = self.client();
        client.query_one(sql, &[&self.quoted()]).unwrap().get(0)
    }

    pub(crate) fn pool(&self, size: u32) -> Pool<Manager> {
        self.pool_to(self.config(), size)
    }

    /// A pool with this configuration, for example one that connects through a proxy.
    pub(crate) fn pool_to(&self, config: Config, size: u32) -> Pool<Manager> {
        let manager = Manager::new(config, NoTls);
        Pool::builder()
            .max_size(size)
            .test_on_check_out(false)
            .build(manager)
            .unwrap()
    }

    /// A builder of stores whose table is in this schema. They may connect in any way.
    pub(crate) fn builder(&self) -> PostgresStoreBuilder {
        PostgresStore::builder().schema(&self.name).unwrap()
    }

    /// A store with the recommended table and a pool of 4 connections.
    pub(crate) fn store(&self) -> PostgresStore {
        let store = self.builder().from_pool(self.pool(4));
        store.create_table().unwrap();
        store
    }
}

/// The ID of the server process of a store with one connection.
pub(crate) fn pid(store: &PostgresStore) -> i32 {
    let ask = |client: &mut Client| client.query_one("SELECT pg_backend_pid()", &[]);
    patiently(|| store.with_client(ask)).unwrap().get(0)
}

/// Locks a session's row until the transaction ends.
///
/// The transaction is READ COMMITTED even if the server's default is another isolation level. In a small
/// table, serializable transactions conflict even if they lock different rows.
pub(crate) fn lock<'a>(holder: &'a mut Client, key: &Key) -> Transaction<'a> {
    let transaction = holder.build_transaction();
    let transaction = transaction.isolation_level(IsolationLevel::ReadCommitted);
    let mut transaction = transaction.start().unwrap();
    let lock = "SELECT FROM session WHERE session_key = $1 FOR UPDATE";
    assert_eq!(transaction.execute(lock, &[&key.as_str()]).unwrap(), 1);
    transaction
}

impl Drop for Schema {
    fn drop(&mut self) {
        // If the test has stopped its server, the schema is gone.
        if let Ok(mut client) = Client::connect(&self.url, NoTls) {
            let _ = client.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.quoted()));
        }
    }
}
