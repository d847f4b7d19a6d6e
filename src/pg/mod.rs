//! The PostgreSQL backend, in the order of a call: [`verbs`] has the verbs, and [`mod@write`], [`insert`] and
//! [`update`] those that take more than one statement; [`batch`] makes few statements of many calls;
//! [`operation`] gets a connection from its [`connection_source`] and attempts an operation again if that helps; a
//! [`connection`] sends a statement of [`sql`], and [`row`] reads what comes back. [`create_table`] and [`check`] are
//! about the table itself, and [`prune`] about the rows of expired sessions.

mod batch;
mod builder;
mod check;
mod checkout;
mod connection;
mod connection_source;
mod create_table;
mod failure;
mod insert;
mod mutex;
mod operation;
mod params;
mod prune;
mod row;
mod secret;
mod sql;
mod statements;
mod table_name;
mod update;
mod verbs;
mod write;

use std::{
    fmt,
    sync::{Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use postgres::Client;
use postgres_connect::Canceller;
use r2d2::{ManageConnection, Pool};

pub use self::builder::PostgresStoreBuilder;
pub(crate) use self::prune::{PruneLock, PruneProgress, PruningPass};
use self::{
    connection::PreparePolicy, connection_source::ConnectionSource, statements::Statements,
    table_name::TableName,
};
use crate::{ConnectOptions, Error, Store, period::DefaultPeriod, recent::Recent};

/// Sessions in a PostgreSQL table, through blocking calls.
///
/// It works with one `postgres::Client` ([`from_client`](Self::from_client)), any `r2d2` pool of them
/// ([`from_pool`](Self::from_pool)), or a pool of its own ([`connect`](Self::connect)).
/// [`builder`](Self::builder) has the options.
///
/// # Round trips
///
/// A call is one statement and one round trip, and so is a `_many` call of up to 4,096 calls and 16 MiB of
/// values. Each statement is a transaction. [`update`](Store::update) is a transaction of four round trips. The
/// first use of a statement on a connection prepares it, and the first use of a connection asks what is at the
/// other end. Each costs one more round trip, and so does a write on a connection that was idle for half a
/// second. A pool that tests its connections at checkout, as `r2d2` does by default, adds one to each call. The
/// store needs no such test: build the pool with `test_on_check_out(false)`.
///
/// A write to a session that is absent, has less than ten seconds left, or is locked by another transaction for
/// 20 ms costs a second statement. In a `_many` call, calls for locked sessions are then made one by one, after
/// all others. Several calls for one key are combined: they come out as if made in their order.
///
/// # Time
///
/// The table keeps expiry dates to the hundredth of a second, rounded. A life may be 5 ms longer or shorter than
/// what was asked for.
///
/// # Broken connections
///
/// A read whose connection breaks is sent again on another connection, until the
/// [`timeout`](PostgresStoreBuilder::timeout) has passed. Then it is [`Error::TimedOut`].
///
/// A `set`, `touch`, `clear` or `insert` whose connection breaks before the server has answered is
/// [`Error::Disconnected`]: the server may have carried it out, or may do so later. It is never sent twice.
/// `generate`, `rotate` and `update` are done once all the same. The store ends the server process of the first
/// attempt, and then finds out what became of it; behind a pooler, where that process is not known, they are
/// [`Error::Disconnected`] too. Connections that were closed while they were idle cost no call: after half a
/// second without use, and after another connection has broken, a connection is tested before a write.
///
/// A single client is not replaced. Once it is closed, each call is [`Error::Database`].
///
/// # Panics
///
/// `postgres::Client` blocks on a runtime of its own when it connects, queries and is dropped. On an async task,
/// calls are [`Error::AsyncContext`], and dropping the store panics. In async code, use an
/// [`Offload`](crate::Offload).
pub struct PostgresStore {
    source: Box<dyn ConnectionSource>,
    table: TableName,
    sql: Statements,
    prepare: PreparePolicy,
    timeout: Duration,
    checkout_timeout: Duration,
    default_period: DefaultPeriod,
    canceller: Canceller,
    value_sizes: Recent,
    /// Why the last connection could not be opened, until one is.
    last_connect_error: Mutex<Option<String>>,
    /// When a connection has last broken.
    last_broken: Mutex<Option<Instant>>,
    /// Held by the call that leaves standbys for a server that takes writes.
    leaving_standby: Mutex<()>,
    /// The block at which the next pruning goes on.
    next_block_to_prune: AtomicU64,
}

impl PostgresStore {
    /// A store with other than the default options.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use session_postgres::{Period, PostgresStore};
    ///
    /// let store = PostgresStore::builder()
    ///     .schema("auth")?
    ///     .table("web_session")?
    ///     .default_period(Period::hours(8))
    ///     .connect("host=/run/postgresql user=web dbname=app")?;
    /// # Ok::<(), session_postgres::Error>(())
    /// ```
    pub fn builder() -> PostgresStoreBuilder {
        PostgresStoreBuilder::default()
    }

    /// A store on a pool of its own, with the table `session`.
    ///
    /// It takes [`ConnectOptions`], or a connection string as libpq reads it, `key=value` pairs or a
    /// URL. See [`PostgresStoreBuilder`] for the other options.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] where the options cannot be used, [`Error::Connect`] where no server
    /// could be connected to.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{PostgresStore, Store};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::connect(url)?;
    /// store.create_table()?;
    /// let key = store.generate(Some("lobster"), None)?;
    /// assert_eq!(store.get(&key)?.value, "lobster");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect<O>(options: O) -> Result<PostgresStore, Error>
    where
        O: TryInto<ConnectOptions>,
        O::Error: Into<Error>,
    {
        PostgresStore::builder().connect(options)
    }

    /// A store on one connection that is already there, with the table `session`. Its calls take
    /// turns, as in the original.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{PostgresStore, Store, postgres::{Client, NoTls}};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::from_client(Client::connect(url, NoTls)?);
    /// store.create_table()?;
    /// assert!(store.generate(None, None).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_client(client: Client) -> PostgresStore {
        PostgresStore::builder().from_client(client)
    }

    /// A store on a pool that is already there, of any manager of `postgres` clients, with the table
    /// `session`.
    ///
    /// Other users of the pool must return connections without an open transaction, because the store's
    /// statements would become part of it. The pool must not set `client_encoding`, which the driver has set:
    /// the store would assume a pooler, and neither prepare nor cancel statements.
    ///
    /// A connection is closed after a statement on it was cancelled, because the driver does not wait for the
    /// server to execute a cancel request, so that it might hit a later statement.
    ///
    /// # Examples
    ///
    /// ```
    /// use r2d2_postgres::PostgresConnectionManager;
    /// use session_postgres::{PostgresStore, Store, postgres::NoTls, r2d2::Pool};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let manager = PostgresConnectionManager::new(url.parse()?, NoTls);
    /// let pool = Pool::builder().max_size(4).test_on_check_out(false).build(manager)?;
    ///
    /// let store = PostgresStore::from_pool(pool.clone());
    /// store.create_table()?;
    /// assert!(store.generate(None, None).is_ok());
    /// // The rest of the program goes on using `pool`.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_pool<M>(pool: Pool<M>) -> PostgresStore
    where
        M: ManageConnection<Connection = Client>,
    {
        PostgresStore::builder().from_pool(pool)
    }

    /// Lends a connection of the store to `work`, after a round trip that shows that it is alive.
    ///
    /// End what you begin: an open transaction would include the store's next statements. A call to a store on
    /// a single client from within `work` waits for itself, until its timeout has passed. The store's timeout
    /// does not end `work`. That of a facade does: in [`Offload::run`](crate::Offload::run), what `work` executes
    /// on the server then is cancelled.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there is no connection in time, or [`Error::Database`] if the only one is closed.
    /// `work` was not executed then.
    ///
    /// # Panics
    ///
    /// If `work` does. The connection is used on.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::PostgresStore;
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::connect(url)?;
    /// store.create_table()?;
    /// let count: i64 = store.with_client(|client| {
    ///     client.query_one("SELECT count(*) FROM session", &[])?.try_get(0)
    /// })??;
    /// assert_eq!(count, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_client<T>(&self, work: impl FnOnce(&mut Client) -> T) -> Result<T, Error> {
        self.lend_client(work)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("table", &format_args!("{}", self.table))
            .field("prepare", &self.prepare)
            .field("timeout", &self.timeout)
            .field("default_period", &self.default_period())
            .finish_non_exhaustive()
    }
}
