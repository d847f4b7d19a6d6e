//! Building a store from its options: on existing connections, or on a pool of its own.

use std::{
    sync::{Mutex, atomic::AtomicU64},
    time::Duration,
};

use postgres::{
    Client, Config, Socket,
    tls::{MakeTlsConnect, TlsConnect},
};
use postgres_connect::{Canceller, ConfigManager, ConnectionManager, Connector};
use r2d2::{ManageConnection, Pool};

use super::{
    PostgresStore, PostgresStoreBuilder,
    connection_source::{ConnectionSource, SingleClient},
    own_pool::OwnPool,
    statements::{Statements, TableOptions},
    stats::StoreCounters,
};
use crate::{ConnectOptions, Error, period::DefaultPeriod, recent::Recent, shard_map::OwnSlots};

/// The `connection_timeout` of the pool. Half of it is the longest pause between two attempts to connect. A call
/// limits its wait itself.
const POOL_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest `max_connections` that PostgreSQL accepts.
const MAX_SERVER_CONNECTIONS: u32 = (1 << 18) - 1;

impl PostgresStoreBuilder {
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
            .connection_timeout(POOL_TIMEOUT);
        let pool = OwnPool::new(pool, manager);
        Ok(self.build(pool, canceller))
    }

    fn build(
        mut self,
        source: impl ConnectionSource + 'static,
        canceller: Canceller,
    ) -> PostgresStore {
        if self.hash_keys {
            self.names.columns.hash_keys();
        }
        PostgresStore {
            source: Box::new(source),
            sql: Statements::new(&TableOptions {
                names: &self.names,
                value_type: self.value_type,
                max_age: self.max_age,
                hash_keys: self.hash_keys,
            }),
            names: self.names,
            value_type: self.value_type,
            max_age: self.max_age,
            hash_keys: self.hash_keys,
            partitions: self.partitions,
            renew_after: self.renew_after,
            prepare: self.prepare,
            timeout: self.timeout,
            checkout_timeout: self.checkout_timeout.unwrap_or(self.timeout),
            default_period: DefaultPeriod::new(self.default_period),
            canceller,
            counters: StoreCounters::new(self.slow_threshold),
            value_sizes: Recent::default(),
            last_connect_error: Mutex::default(),
            last_broken: Mutex::default(),
            leaving_standby: Mutex::default(),
            next_block_to_prune: AtomicU64::new(0),
            slots: OwnSlots::default(),
        }
    }
}
