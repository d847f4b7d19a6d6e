//! The options of a store, and creating it.

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
    make_canceller::MakeCanceller,
    statements::Statements,
    table_name::TableName,
};
use crate::{ConnectOptions, DEFAULT_PERIOD, Error, Period, period::DefaultPeriod, recent::Recent};

/// The `connection_timeout` of the pool. Half of it is the longest pause between two attempts to connect. A call
/// limits its wait itself.
const POOL_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest `max_connections` that PostgreSQL accepts.
const MAX_SERVER_CONNECTIONS: u32 = (1 << 18) - 1;

/// Options for a [`PostgresStore`], created with [`PostgresStore::builder`].
///
/// | option | default |
/// |---|---|
/// | [`table`](Self::table) | `session` |
/// | [`schema`](Self::schema) | found by the `search_path` |
/// | [`default_period`](Self::default_period) of a session | one week |
/// | [`timeout`](Self::timeout) of an operation | 30 seconds |
/// | [`prepared`](Self::prepared) statements | on, unless a pooler is detected |
/// | [`cancel_tls`](Self::cancel_tls) | no TLS |
/// | [`checkout_timeout`](Self::checkout_timeout) | same as `timeout` |
/// | [`max_connections`](Self::max_connections) | 10 |
/// | [`min_idle`](Self::min_idle) | 0 |
/// | [`max_lifetime`](Self::max_lifetime) of a connection | 30 minutes |
/// | [`idle_timeout`](Self::idle_timeout) of a connection | 10 minutes |
///
/// The last four apply to a pool that [`connect`](Self::connect) or [`connect_with`](Self::connect_with) creates.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use session_postgres::PostgresStore;
///
/// # let server = throwaway_postgres::Server::start()?;
/// # let url = server.url();
/// let store = PostgresStore::builder()
///     .timeout(Duration::from_secs(5))
///     .max_connections(4)
///     .connect(url)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it creates a store"]
pub struct PostgresStoreBuilder {
    table: TableName,
    prepare: PreparePolicy,
    timeout: Duration,
    default_period: Period,
    max_connections: u32,
    min_idle: u32,
    max_lifetime: Option<Duration>,
    idle_timeout: Option<Duration>,
    checkout_timeout: Option<Duration>,
    make_canceller: MakeCanceller,
}

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
            checkout_timeout: None,
            make_canceller: MakeCanceller::with_tls(NoTls),
        }
    }
}

impl PostgresStoreBuilder {
    /// Sets the name of the sessions table. The name is quoted, so case matters and a dot is part of the name.
    ///
    /// Defaults to `session`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if PostgreSQL does not accept the name: it is empty, longer than 63 bytes, or
    /// contains a NUL character.
    pub fn table(mut self, name: &str) -> Result<Self, Error> {
        self.table.set_name(name)?;
        Ok(self)
    }

    /// Sets the schema of the sessions table. It is quoted like the name of the table.
    ///
    /// Defaults to none: the table is found by the connection's `search_path`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] as for [`table`](Self::table).
    pub fn schema(mut self, name: &str) -> Result<Self, Error> {
        self.table.set_schema(name)?;
        Ok(self)
    }

    /// Sets whether statements are prepared once per connection and then reused. Otherwise a call is still one
    /// round trip, but the server plans its statement each time.
    ///
    /// Prepared statements do not work behind a pooler that gives each transaction another server connection, as
    /// PgBouncer does in transaction mode. A statement that was prepared before may be missing there. Another
    /// program may have prepared one with the same name, which is then executed instead.
    ///
    /// Defaults to `None`: statements are prepared unless a pooler is in between. The first use of a connection
    /// finds that out, with one more round trip. Use `true` for a pooler that supports prepared statements, as
    /// PgBouncer does with `max_prepared_statements`.
    pub fn prepared(mut self, on: impl Into<Option<bool>>) -> Self {
        self.prepare = match on.into() {
            Some(true) => PreparePolicy::Always,
            Some(false) => PreparePolicy::Never,
            None => PreparePolicy::IfDirect,
        };
        self
    }

    /// Sets the time limit of an operation, including the wait for a connection and further attempts.
    ///
    /// At the limit, the store sends the server a cancel request for the running statement. The operation fails
    /// with [`Error::TimedOut`] and has no effect.
    ///
    /// If the server does not answer the cancel request either, the connection is closed within another second.
    /// A read then fails with [`Error::TimedOut`], and a write with [`Error::Disconnected`].
    ///
    /// The following differs on connections over a Unix socket, and on connections that [`connect`](Self::connect)
    /// has not opened:
    ///
    /// - If the server does not answer, the operation waits until the operating system closes the connection. On a
    ///   Unix socket that can take any time, for example if the server process is stopped by `SIGSTOP`.
    /// - A cancel request can arrive late, so the connection is closed after it and the pool opens another. A
    ///   single client, which cannot be replaced, waits about a second for the request instead.
    /// - Behind a pooler, no cancel request is sent, so the operation waits until its statement ends.
    ///
    /// Defaults to 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the TLS connector for cancel requests, which are sent on separate connections.
    ///
    /// Set it if your own client or pool uses TLS. [`connect`](Self::connect) and
    /// [`connect_with`](Self::connect_with) replace it by the TLS that they connect with.
    ///
    /// Defaults to no TLS.
    pub fn cancel_tls<T>(mut self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    {
        self.make_canceller = MakeCanceller::with_tls(tls);
        self
    }

    /// Sets the period of sessions that are written without an expiry. See
    /// [`Store::default_period`](crate::Store::default_period).
    ///
    /// Defaults to [`DEFAULT_PERIOD`], one week.
    pub fn default_period(mut self, period: Period) -> Self {
        self.default_period = period;
        self
    }

    /// Sets the largest number of connections in the store's own pool. They are opened when calls need them.
    ///
    /// With more than 262,143, the largest number that PostgreSQL can be configured for, connecting fails with
    /// [`Error::InvalidOption`].
    ///
    /// Defaults to 10.
    ///
    /// # Panics
    ///
    /// If `count` is 0.
    pub fn max_connections(mut self, count: u32) -> Self {
        assert!(count > 0, "max_connections must be at least 1");
        self.max_connections = count;
        self
    }

    /// Sets the minimum number of idle connections in the store's own pool.
    ///
    /// With more than [`max_connections`](Self::max_connections), connecting fails with [`Error::InvalidOption`].
    ///
    /// Defaults to 0.
    pub fn min_idle(mut self, count: u32) -> Self {
        self.min_idle = count;
        self
    }

    /// Sets the age at which a connection of the store's own pool is replaced, once it is idle. `None` sets no
    /// limit.
    ///
    /// A limit bounds the server's memory for the connection, and lets the pool use servers again that were
    /// unavailable.
    ///
    /// Defaults to 30 minutes.
    ///
    /// # Panics
    ///
    /// If `lifetime` is zero.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = not_zero("max_lifetime", lifetime.into());
        self
    }

    /// Sets how long a connection of the store's own pool may be idle before it is closed. `None` sets no limit.
    ///
    /// If fewer than [`min_idle`](Self::min_idle) idle connections are left, the pool opens new ones.
    ///
    /// Defaults to 10 minutes.
    ///
    /// # Panics
    ///
    /// If `timeout` is zero.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = not_zero("idle_timeout", timeout.into());
        self
    }

    /// Sets how long an operation waits for a free or new connection. Then it fails with [`Error::TimedOut`].
    ///
    /// Defaults to its whole [`timeout`](Self::timeout).
    pub fn checkout_timeout(mut self, timeout: Duration) -> Self {
        self.checkout_timeout = Some(timeout);
        self
    }

    /// Creates the store with one existing connection. See [`PostgresStore::from_client`].
    pub fn from_client(self, client: Client) -> PostgresStore {
        let canceller = self.make_canceller.make();
        self.build(SingleClient::new(client), canceller)
    }

    /// Creates the store with an existing pool. See [`PostgresStore::from_pool`].
    pub fn from_pool<M>(self, pool: Pool<M>) -> PostgresStore
    where
        M: ManageConnection<Connection = Client>,
    {
        let canceller = self.make_canceller.make();
        self.build(pool, canceller)
    }

    /// Connects, and creates the store with its own pool. See [`PostgresStore::connect`].
    ///
    /// One connection is opened at once, unless [`startonly`](ConnectOptions::startonly) is set.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if an option is invalid, [`Error::Connect`] if no server accepts a connection.
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
        self.with_own_pool(manager, canceller)
    }

    /// Connects with an existing configuration and TLS, and creates the store with its own pool.
    ///
    /// One connection is opened at once, so that a wrong password or address is reported here and not by the first
    /// call.
    ///
    /// If the configuration has no `connect_timeout` or no `tcp_user_timeout`, it is set to the store's timeout,
    /// at least a second. The `tcp_user_timeout` limits how long a call waits if the network drops its packets.
    /// It does not limit how long a call waits for a server that receives the statement and does not answer; see
    /// [`timeout`](Self::timeout).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the number of connections is invalid, [`Error::Connect`] if the server cannot
    /// be reached or refuses the connection.
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
        // The driver takes a timeout of zero as none.
        let timeout = self.timeout.max(Duration::from_secs(1));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(timeout);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(timeout);
        }
        let canceller = Canceller::by_driver(tls.clone());
        let manager = ConfigManager::new(config, tls);
        // A pool would try again until its timeout, and report less.
        drop(manager.connect()?);
        self.with_own_pool(manager, canceller)
    }

    fn with_own_pool<M>(self, manager: M, canceller: Canceller) -> Result<PostgresStore, Error>
    where
        M: ManageConnection<Connection = Client>,
    {
        let (min_idle, max) = (self.min_idle, self.max_connections);
        if max > MAX_SERVER_CONNECTIONS {
            return Err(Error::InvalidOption(format!(
                "max_connections is {max}, but a PostgreSQL server has at most {MAX_SERVER_CONNECTIONS}"
            )));
        }
        if min_idle > max {
            return Err(Error::InvalidOption(format!(
                "min_idle is {min_idle}, but max_connections is {max}"
            )));
        }
        let pool = Pool::builder()
            .max_size(max)
            .min_idle(Some(min_idle))
            .max_lifetime(self.max_lifetime)
            .idle_timeout(self.idle_timeout)
            .test_on_check_out(false)
            .connection_timeout(POOL_TIMEOUT)
            .build_unchecked(manager);
        Ok(self.build(pool, canceller))
    }

    fn build(self, source: impl ConnectionSource + 'static, canceller: Canceller) -> PostgresStore {
        PostgresStore {
            source: Box::new(source),
            sql: Statements::new(&self.table),
            table: self.table,
            prepare: self.prepare,
            timeout: self.timeout,
            checkout_timeout: self.checkout_timeout.unwrap_or(self.timeout),
            default_period: DefaultPeriod::new(self.default_period),
            canceller,
            value_sizes: Recent::default(),
            last_connect_error: Mutex::default(),
            last_broken: Mutex::default(),
            leaving_standby: Mutex::default(),
            next_block_to_prune: AtomicU64::new(0),
        }
    }
}

/// `r2d2` panics without naming the option.
fn not_zero(option: &str, time: Option<Duration>) -> Option<Duration> {
    assert!(time != Some(Duration::ZERO), "{option} must not be zero");
    time
}
