//! The options of a store, and what it is built on.

use std::{error::Error as _, time::Duration};

use postgres::{
    Client, Config, NoTls, Socket,
    tls::{MakeTlsConnect, TlsConnect},
};
use r2d2::{ManageConnection, Pool};
use r2d2_postgres::PostgresConnectionManager;

use super::{
    PostgresStore,
    manager::Manager,
    source::{Single, Source},
    sql::Statements,
    table::Table,
    watch::{Cancel, Watch},
};
use crate::{DEFAULT_PERIOD, Error, Period, period::DefaultPeriod};

/// Options for a [`PostgresStore`]; made by [`PostgresStore::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until a store is made of it"]
pub struct PostgresStoreBuilder {
    table: Table,
    prepared: bool,
    timeout: Duration,
    default_period: Period,
    max_connections: u32,
    cancel: Cancel,
}

impl Default for PostgresStoreBuilder {
    fn default() -> Self {
        PostgresStoreBuilder {
            table: Table::session(),
            prepared: true,
            timeout: Duration::from_secs(30),
            default_period: DEFAULT_PERIOD,
            max_connections: 10,
            cancel: Cancel::with(NoTls),
        }
    }
}

impl PostgresStoreBuilder {
    /// Sets the name of the sessions table, as it is: it is quoted, so case and dots count.
    ///
    /// Defaults to `session`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] where PostgreSQL has no such names: empty, over 63 bytes, or with a
    /// NUL.
    pub fn table(mut self, name: &str) -> Result<Self, Error> {
        self.table.set_name(name)?;
        Ok(self)
    }

    /// Sets the schema that the table is in, quoted as the table's name is.
    ///
    /// Defaults to none: the connection's `search_path` finds the table.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] as for [`table`](Self::table).
    pub fn schema(mut self, name: &str) -> Result<Self, Error> {
        self.table.set_schema(name)?;
        Ok(self)
    }

    /// Sets whether statements are prepared once a connection, and kept with it.
    ///
    /// Turn it off behind a pooler that gives each transaction another server connection, as
    /// PgBouncer does in transaction mode: there a statement prepared before may be gone, or be
    /// somebody else's. A call is one round trip all the same, and the server plans it each time.
    ///
    /// Defaults to `true`.
    pub fn prepared(mut self, on: bool) -> Self {
        self.prepared = on;
        self
    }

    /// Sets how long an operation may take: waiting for a connection, all that it asks of the server,
    /// and trying again where connections break. A statement that still runs then, or waits for a lock,
    /// is cancelled on the server, and the operation is [`Error::TimedOut`]: nothing was
    /// done.
    ///
    /// A server that does not answer at all cannot be told to cancel; see
    /// [`connect_with`](Self::connect_with) for what ends that.
    ///
    /// Defaults to 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how the server is reached to cancel a statement, which takes a connection of its own, where
    /// the connections of a client or a pool that is given use TLS.
    ///
    /// Defaults to no TLS, which does where the connections need none.
    /// [`connect_with`](Self::connect_with) takes the TLS that it connects with.
    pub fn cancel_tls<T>(mut self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    {
        self.cancel = Cancel::with(tls);
        self
    }

    /// Sets the store's default period; see [`Store::default_period`](crate::Store::default_period).
    ///
    /// Defaults to [`DEFAULT_PERIOD`], one week.
    pub fn default_period(mut self, period: Period) -> Self {
        self.default_period = period;
        self
    }

    /// Sets how many connections there are at most in the pool that [`connect`](Self::connect) and
    /// [`connect_with`](Self::connect_with) make; a pool that is given has its own size. They are
    /// opened as calls need them.
    ///
    /// Defaults to 10.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn max_connections(mut self, count: u32) -> Self {
        assert!(count > 0, "a pool needs at least one connection");
        self.max_connections = count;
        self
    }

    /// Makes the store on one connection; see [`PostgresStore::from_client`].
    pub fn from_client(self, client: Client) -> PostgresStore {
        self.build(Single::new(client))
    }

    /// Makes the store on a pool; see [`PostgresStore::from_pool`].
    pub fn from_pool<M>(self, pool: Pool<M>) -> PostgresStore
    where
        M: ManageConnection<Connection = Client>,
    {
        self.build(pool)
    }

    /// Connects without TLS, and makes the store on a pool of its own; see
    /// [`PostgresStore::connect`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] where the text is no connection string, and those of
    /// [`connect_with`](Self::connect_with).
    pub fn connect(self, params: &str) -> Result<PostgresStore, Error> {
        let config = params
            .parse()
            .map_err(|e| Error::InvalidOption(explain_parsing(&e)))?;
        self.connect_with(config, NoTls)
    }

    /// Connects with this configuration and TLS, and makes the store on a pool of its own.
    ///
    /// One connection is made at once, so that a wrong password or address shows here and not in
    /// the first call. Where the configuration has no `connect_timeout` or `tcp_user_timeout`, the
    /// store's timeout is taken, at least a second: with the latter a call does not hang for long
    /// where the network swallows what it sends.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] where the server refuses or cannot be reached.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{PostgresStore, postgres::{Config, NoTls}};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let mut config: Config = url.parse()?;
    /// config.application_name("shop");
    /// let store = PostgresStore::builder().max_connections(4).connect_with(config, NoTls)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect_with<T>(self, mut config: Config, tls: T) -> Result<PostgresStore, Error>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::TlsConnect: Send,
        T::Stream: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        // To the driver, a timeout of nothing is none.
        let timeout = self.timeout.max(Duration::from_secs(1));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(timeout);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(timeout);
        }
        let cancel = Cancel::with(tls.clone());
        let manager = Manager(PostgresConnectionManager::new(config, tls));
        // The pool would try again for its whole timeout, and tell little of why.
        manager.connect()?;
        let pool = Pool::builder()
            .max_size(self.max_connections)
            .min_idle(Some(0))
            .test_on_check_out(false)
            .build_unchecked(manager);
        Ok(PostgresStoreBuilder { cancel, ..self }.from_pool(pool))
    }

    fn build(self, source: impl Source + 'static) -> PostgresStore {
        PostgresStore {
            source: Box::new(source),
            sql: Statements::new(&self.table),
            table: self.table,
            prepared: self.prepared,
            timeout: self.timeout,
            default_period: DefaultPeriod::new(self.default_period),
            watch: Watch::new(self.cancel),
        }
    }
}

/// What is wrong with a connection string, without quoting it: it may hold a password.
fn explain_parsing(error: &postgres::Error) -> String {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let names_only_an_option = cause.starts_with("invalid value for option");
    let advice = if names_only_an_option {
        cause
    } else {
        "expected key=value pairs, values with blanks in single quotes, or a postgres:// URL".into()
    };
    format!("the connection string cannot be parsed: {advice}")
}
