//! `PostgresStore` and its constructors.

use std::{
    fmt,
    sync::{Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use postgres::Client;
use postgres_connect::Canceller;
use r2d2::{ManageConnection, Pool};

use super::{
    PostgresStoreBuilder,
    connection::PreparePolicy,
    connection_source::ConnectionSource,
    names::{Names, ValueType},
    statements::Statements,
    stats::StoreCounters,
};
use crate::{
    ConnectOptions, Error, Period, Store,
    period::{DefaultPeriod, RenewAfter},
    recent::Recent,
    shard_map::OwnSlots,
};

/// A store of sessions in a PostgreSQL table, with blocking calls.
///
/// Create a `PostgresStore` from what you already have:
///
/// | you have | call |
/// |---|---|
/// | a connection string, [`ConnectOptions`], or libpq's environment variables | [`connect`](Self::connect) |
/// | a `postgres::Config`, or options for the store | [`builder`](Self::builder) |
/// | an `r2d2` pool of `postgres::Client`s | [`from_pool`](Self::from_pool) |
/// | one `postgres::Client` | [`from_client`](Self::from_client) |
///
/// In async code, use an [`Offload`](crate::Offload). The guides on [the table](crate::guide::table) and on
/// [operations](crate::guide::operations) are for operators.
///
/// # Round trips
///
/// A call is one statement, one transaction and one round trip. So is a `_many` call of up to 4,096 calls and 16
/// MiB of values; a larger one is split. [`update`](Store::update) is one transaction and takes four round
/// trips. [`rotate_to`](Store::rotate_to) takes two or three, and a batch that creates sessions with and without owners takes
/// two.
///
/// Each of these takes one more round trip:
///
/// - the first use of a statement on a connection, to prepare it;
/// - the first use of a connection, to find out whether a pooler is in between;
/// - a call of the first kind below ("Broken connections") on a connection that was idle for half a second, to test the
///   connection;
/// - every call, if the pool tests connections at checkout, as `r2d2` does by default. The store does not need
///   that test, so build the pool with `test_on_check_out(false)`.
///
/// `renew` takes a second statement if it restarts the period. `set` and `touch` take one if the session is absent or has less than ten seconds left. `set`,
/// `touch` and `clear` also take one if another transaction locks the session for 20 ms.
///
/// In a `_many` call, the calls for locked sessions are executed one by one, after all others. Several calls for one
/// key are combined, with the same results as if they were executed in order.
///
/// # Expiry dates
///
/// The table stores expiry dates rounded to hundredths of a second, so a session may expire 5 ms earlier or later
/// than requested.
///
/// # Broken connections
///
/// If the connection of a read breaks, the read is sent again on another connection. It fails with
/// [`Error::TimedOut`] at the [`timeout`](PostgresStoreBuilder::timeout).
///
/// If the connection of a `set`, `touch`, `clear`, `insert`, `rotate_to`, `set_owner`, `clear_owned` or `clear_handle`
/// breaks before the server answers, the call fails with [`Error::Disconnected`]. The server may have executed it, or may still do
/// so. The store never sends it twice.
///
/// If the connection of a `generate`, `rotate`, `update` or `renew` breaks, the store terminates the server process of
/// the first attempt, finds out whether that attempt was executed, and repeats it only if it was not. If the store
/// cannot find this out, the call fails with [`Error::Disconnected`]: for example behind a pooler, on a single client,
/// or if that server is gone.
///
/// Connections that were closed while they were idle cause no errors. Before a call of the first kind, the store tests a connection that was idle for half a second, or since another connection has broken.
///
/// A single client is not replaced. Once it is closed, each call fails with [`Error::Database`].
///
/// # Panics
///
/// On an async task, dropping the store panics, because a `postgres::Client` blocks its thread whenever it connects,
/// queries or is dropped. Calls fail with [`Error::AsyncContext`]: the store catches the panic of tokio. The panic
/// hook still prints a message, and a program built with `panic = "abort"` aborts.
pub struct PostgresStore {
    pub(super) source: Box<dyn ConnectionSource>,
    pub(super) names: Names,
    pub(super) sql: Statements,
    pub(super) prepare: PreparePolicy,
    pub(super) timeout: Duration,
    pub(super) checkout_timeout: Duration,
    pub(super) default_period: DefaultPeriod,
    pub(super) renew_after: RenewAfter,
    pub(super) max_age: Option<Period>,
    pub(super) hash_keys: bool,
    pub(super) partitions: Option<u32>,
    pub(super) value_type: ValueType,
    pub(super) canceller: Canceller,
    pub(super) counters: StoreCounters,
    /// The sizes of the values that were read recently.
    pub(super) value_sizes: Recent,
    /// Why the last connection could not be opened. `None` after a success.
    pub(super) last_connect_error: Mutex<Option<String>>,
    /// When a connection last broke.
    pub(super) last_broken: Mutex<Option<Instant>>,
    /// Held by the call that closes connections to a standby until it gets one to a primary.
    pub(super) leaving_standby: Mutex<()>,
    /// The block of the table at which the next pruning pass begins.
    pub(super) next_block_to_prune: AtomicU64,
    pub(super) slots: OwnSlots,
}

impl PostgresStore {
    /// Connects, and creates a store with its own pool and the table `session`.
    ///
    /// `options` are [`ConnectOptions`], or a connection string that libpq understands: `key=value` pairs or a URL.
    /// An empty string uses libpq's environment variables. The guide on [connecting](crate::guide::connecting) lists
    /// all options. See [`PostgresStoreBuilder::connect`] for a store with other options.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if an option is invalid, [`Error::Connect`] if no server accepts a connection.
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

    /// Returns a builder for a store with other options.
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

    /// Creates a store with an existing pool and the table `session`. The pool may have any manager of
    /// `postgres::Client`s.
    ///
    /// Requirements for the pool:
    ///
    /// - Other users of the pool must return connections without an open transaction. Otherwise the store's
    ///   statements become part of it, except for [`update`](Store::update), which fails. A transaction that was aborted
    ///   by an error is rolled back by the next call.
    /// - The connections must not set `client_encoding`, because the driver sets it. Otherwise the store assumes a
    ///   pooler, and neither prepares nor cancels statements.
    /// - If the connections use TLS, pass it to [`cancel_tls`](PostgresStoreBuilder::cancel_tls) of a builder.
    ///
    /// After a cancel request, the connection of the statement is closed, and the pool replaces it. The driver does
    /// not wait until the server has executed the request, so the request could cancel a later statement.
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
    /// // The rest of the program can still use `pool`.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_pool<M>(pool: Pool<M>) -> PostgresStore
    where
        M: ManageConnection<Connection = Client>,
    {
        PostgresStore::builder().from_pool(pool)
    }

    /// Creates a store with one existing connection and the table `session`.
    ///
    /// Only one call at a time can use the connection, as in OCaml's session-postgresql. A closed connection is
    /// not replaced.
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

    /// Lends a connection of the store to `work`. The store tests the connection first, with one round trip.
    ///
    /// The store's timeout limits only the wait for the connection. Within
    /// [`Offload::run`](crate::Offload::run), the statements of `work` are cancelled at the facade's timeout.
    ///
    /// A transaction that `work` leaves open is rolled back; to find that out takes another round trip. A transaction that
    /// was open before stays open, for example on a client that was given to [`from_client`](Self::from_client).
    ///
    /// If the store has a single client, a call to the store within `work` waits until its timeout, because `work` has
    /// the client.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if no connection is free in time, [`Error::Database`] if the only one is closed.
    /// `work` was not executed then.
    ///
    /// # Panics
    ///
    /// If `work` panics. The store can still use the connection.
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
        self.lend_client(false, |_| false, work)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("table", &format_args!("{}", self.names.table))
            .field("prepare", &self.prepare)
            .field("timeout", &self.timeout)
            .field("default_period", &self.default_period())
            .field("max_age", &self.max_age)
            .field("hash_keys", &self.hash_keys)
            .finish_non_exhaustive()
    }
}
