//! The options of a store, and what it is built on.

use std::{
    sync::{Mutex, atomic::AtomicU64},
    time::Duration,
};

use postgres::{
    Client, Config, NoTls, Socket,
    tls::{MakeTlsConnect, TlsConnect},
};
use postgres_connect::{Canceller, ConfigManager, ConnectionManager, Connector};
use r2d2::{ManageConnection, Pool};

use super::{
    PostgresStore,
    connection::PreparePolicy,
    connection_source::{ConnectionSource, SingleClient},
    statements::Statements,
    table_name::TableName,
};
use crate::{ConnectOptions, DEFAULT_PERIOD, Error, Period, period::DefaultPeriod, recent::Recent};

/// The pool waits for half of it at most between two tries to connect. How long a call waits is its own
/// affair.
const RETRY: Duration = Duration::from_secs(1);

/// Options for a [`PostgresStore`]; made by [`PostgresStore::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until a store is made of it"]
pub struct PostgresStoreBuilder {
    table: TableName,
    prepare: PreparePolicy,
    timeout: Duration,
    default_period: Period,
    max_connections: u32,
    min_idle: u32,
    max_lifetime: Option<Duration>,
    idle_timeout: Option<Duration>,
    checkout_timeout: Duration,
    canceller: Canceller,
}

/// The most that a server can be set to, which is also what a pool makes room for.
const MOST_CONNECTIONS: u32 = (1 << 18) - 1;

impl Default for PostgresStoreBuilder {
    fn default() -> Self {
        PostgresStoreBuilder {
            table: TableName::session(),
            prepare: PreparePolicy::IfDirect,
            timeout: Duration::from_secs(30),
            default_period: DEFAULT_PERIOD,
            max_connections: 10,
            min_idle: 0,
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            checkout_timeout: Duration::MAX,
            canceller: Canceller::by_driver(NoTls),
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
    /// Behind a pooler that gives each transaction another server connection, as PgBouncer does in
    /// transaction mode, a statement prepared before may be gone, or be another program's of the same
    /// name, which is then carried out instead. Without preparing, a call is one round trip all the
    /// same, and the server plans it each time.
    ///
    /// Defaults to `None`, finding out: the first use of a connection asks the server, in a round trip more,
    /// whether a pooler made it, and statements are prepared where none did. Turn it on for a pooler
    /// that takes care of prepared statements, as PgBouncer does with `max_prepared_statements`.
    pub fn prepared(mut self, on: impl Into<Option<bool>>) -> Self {
        self.prepare = match on.into() {
            Some(true) => PreparePolicy::Always,
            Some(false) => PreparePolicy::Never,
            None => PreparePolicy::IfDirect,
        };
        self
    }

    /// Sets how long an operation may take, including the wait for a connection and further attempts. A
    /// statement that still runs then, or waits for a lock, is cancelled on the server, and the operation is
    /// [`Error::TimedOut`]: it has no effect.
    ///
    /// A server that does not answer the cancel request either is given up a second later, and the connection
    /// with it. A read is [`Error::TimedOut`] then, and a write [`Error::Disconnected`]. This holds for
    /// connections that [`connect`](Self::connect) has made. On others the server is waited for as long as the
    /// system keeps the connection, and behind a pooler a statement on them is not cancelled. If the program
    /// may not use TCP with itself, the same is true of Unix sockets.
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
        self.canceller = Canceller::by_driver(tls);
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
    /// opened as calls need them. More than 262,143, the most that a server can be set to, are
    /// [`Error::InvalidOption`] there.
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

    /// Sets how many connections the pool keeps open at least, ready for the next call; as
    /// [`max_connections`](Self::max_connections), for a pool of the store's own.
    ///
    /// Defaults to 0.
    pub fn min_idle(mut self, count: u32) -> Self {
        self.min_idle = count;
        self
    }

    /// Sets after how long a connection of the store's own pool is replaced, once it is idle: so that
    /// the server's memory for it does not grow without bounds, and connections spread again over
    /// servers that have come back.
    ///
    /// Defaults to 30 minutes.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = not_zero(lifetime.into());
        self
    }

    /// Sets after how long a connection of the store's own pool that nobody uses is closed, except for
    /// those of [`min_idle`](Self::min_idle).
    ///
    /// Defaults to 10 minutes.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = not_zero(timeout.into());
        self
    }

    /// Sets how much of its [`timeout`](Self::timeout) an operation may spend on waiting for a
    /// connection that is free, or for one that is made; then it is [`Error::TimedOut`].
    ///
    /// Defaults to all of it.
    pub fn checkout_timeout(mut self, timeout: Duration) -> Self {
        self.checkout_timeout = timeout;
        self
    }

    /// Makes the store on one connection; see [`PostgresStore::from_client`].
    pub fn from_client(self, client: Client) -> PostgresStore {
        self.build(SingleClient::new(client))
    }

    /// Makes the store on a pool; see [`PostgresStore::from_pool`].
    pub fn from_pool<M>(self, pool: Pool<M>) -> PostgresStore
    where
        M: ManageConnection<Connection = Client>,
    {
        self.build(pool)
    }

    /// Connects as the options say, and makes the store on a pool of its own; see
    /// [`PostgresStore::connect`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] where the options, or a connection string, cannot be used, and
    /// [`Error::Connect`] where no server could be connected to, unless that is left to the first call
    /// ([`startonly`](ConnectOptions::startonly)).
    pub fn connect<O>(self, options: O) -> Result<PostgresStore, Error>
    where
        O: TryInto<ConnectOptions>,
        O::Error: Into<Error>,
    {
        let options = options.try_into().map_err(Into::into)?;
        let connector = Connector::new(&options)?;
        let canceller = Canceller::new(connector.clone());
        let manager = ConnectionManager::new(connector);
        if !options.is_startonly() {
            manager.connect_first()?;
        }
        self.pooled(manager, canceller)
    }

    /// Connects with a configuration and TLS that are there, and makes the store on a pool of its own.
    ///
    /// One connection is made at once, so that a wrong password or address shows here and not in
    /// the first call. Where the configuration has no `connect_timeout` or `tcp_user_timeout`, the
    /// store's timeout is taken, at least a second: with the latter a call does not hang for long
    /// where the network swallows what it sends. That a server which accepts and never answers is given
    /// up in time, only [`connect`](Self::connect) sees to.
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
        let canceller = Canceller::by_driver(tls.clone());
        let manager = ConfigManager::new(config, tls);
        // A pool would try again for its whole timeout, and report less.
        drop(manager.connect()?);
        self.pooled(manager, canceller)
    }

    /// The store on a pool of its own.
    fn pooled<M>(self, manager: M, canceller: Canceller) -> Result<PostgresStore, Error>
    where
        M: ManageConnection<Connection = Client>,
    {
        let (idle, most) = (self.min_idle, self.max_connections);
        if most > MOST_CONNECTIONS {
            return Err(Error::InvalidOption(format!(
                "no server of PostgreSQL has {most} connections, but at most {MOST_CONNECTIONS}"
            )));
        }
        if idle > most {
            return Err(Error::InvalidOption(format!(
                "of at most {most} connections, {idle} cannot be idle"
            )));
        }
        let pool = Pool::builder()
            .max_size(most)
            .min_idle(Some(idle))
            .max_lifetime(self.max_lifetime)
            .idle_timeout(self.idle_timeout)
            .test_on_check_out(false)
            .connection_timeout(RETRY)
            .build_unchecked(manager);
        Ok(PostgresStoreBuilder { canceller, ..self }.from_pool(pool))
    }

    fn build(self, source: impl ConnectionSource + 'static) -> PostgresStore {
        PostgresStore {
            source: Box::new(source),
            sql: Statements::new(&self.table),
            table: self.table,
            prepare: self.prepare,
            timeout: self.timeout,
            checkout_timeout: self.checkout_timeout,
            default_period: DefaultPeriod::new(self.default_period),
            canceller: self.canceller,
            value_sizes: Recent::default(),
            last_connect_error: Mutex::default(),
            last_broken: Mutex::default(),
            leaving_standby: Mutex::default(),
            next_block_to_prune: AtomicU64::new(0),
        }
    }
}

/// To the pool, a time of nothing is a mistake.
fn not_zero(time: Option<Duration>) -> Option<Duration> {
    assert!(
        time != Some(Duration::ZERO),
        "no connection lives that short"
    );
    time
}
