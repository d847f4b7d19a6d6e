//! The PostgreSQL backend, in the order of a call: [`store`] has the verbs, [`attempt`] lends them a
//! connection and tries again, [`source`] has the connections, [`watch`] cancels what takes too long,
//! [`connection`] sends a statement of [`sql`], and [`row`] reads what comes back. [`batch`] is for many
//! calls at once, [`insert`] and [`update`] for what takes more than a statement, [`schema`] and
//! [`check`] for the table itself, and [`prune`] and [`pruner`] for expired rows.

mod attempt;
mod batch;
mod builder;
mod check;
mod connection;
mod insert;
mod manager;
mod prune;
mod pruner;
mod row;
mod schema;
mod secret;
mod source;
mod sql;
mod store;
mod table;
mod update;
mod watch;

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use postgres::Client;
use r2d2::{ManageConnection, Pool};

pub use self::{
    builder::PostgresStoreBuilder,
    pruner::{Pruner, PrunerBuilder, PrunerStats},
};
use self::{connection::Prepare, source::Source, sql::Statements, table::Table, watch::Watch};
use crate::{ConnectOptions, Error, Store, period::DefaultPeriod};

/// Sessions in a PostgreSQL table, through blocking calls.
///
/// It works with what there is: one `postgres::Client` ([`from_client`](Self::from_client)),
/// anybody's `r2d2` pool of them ([`from_pool`](Self::from_pool)), or a pool of its own
/// ([`connect`](Self::connect)). [`builder`](Self::builder) has the options.
///
/// # Round trips
///
/// A call is one statement and one round trip, and a `_many` call is too, for up to 4,096 calls, and
/// for writes up to 16 MiB of values; each statement is its own transaction. [`update`](Store::update)
/// is a transaction of four round trips. The first use of a statement on a connection prepares it,
/// which costs one more, and the first use of a connection asks whether a pooler stands between, which
/// costs another.
///
/// A pool that tests its connections at checkout, as `r2d2` does unless told otherwise, adds a round
/// trip to each call. The store needs no such test: build the pool with `test_on_check_out(false)`.
///
/// `set_many`, `touch_many` and `clear_many` wait no longer than a quarter of a second for a row that
/// somebody keeps locked: they then do the others first, in smaller statements, and that one by itself.
///
/// In a `_many` call, further [`set`](Store::set), [`touch`](Store::touch) or
/// [`insert`](Store::insert) calls for one key go in statements of their own, after the first.
///
/// # Time
///
/// The table keeps expiry dates to the hundredth of a second, rounded: a life may be longer or shorter
/// by 5 ms than what was asked for.
///
/// # Broken connections
///
/// Where a connection breaks under an operation, it runs again on a fresh one from the pool, until
/// the [`timeout`](PostgresStoreBuilder::timeout) has passed. Where the break came so late that the
/// server may have carried out the first try unseen (or may be at it still: then it is first told to
/// cancel that, and has a second to do so; behind a pooler only by [`connect`](Self::connect)):
///
/// - `generate` and `rotate` make one session, for they keep the key they chose, and `update` is done
///   once, for the server is asked what became of its transaction;
/// - `set`, `touch` and `clear` may be done twice, the second time over what others wrote in between;
/// - `insert` that then finds its key taken, and `set` or `touch` that then find no session, cannot
///   know whether that is their own doing, and say [`Error::Disconnected`].
///
/// A single client is not replaced: once it is broken, each call is [`Error::Disconnected`].
///
/// # Panics
///
/// `postgres::Client` blocks on a runtime of its own when it connects, queries and is dropped, and
/// panics where that happens on an async task. In async code, call the store and drop it on
/// blocking threads only.
pub struct PostgresStore {
    source: Box<dyn Source>,
    table: Table,
    sql: Statements,
    prepare: Prepare,
    timeout: Duration,
    checkout_timeout: Duration,
    default_period: DefaultPeriod,
    watch: Watch,
    /// The block at which the next pruning goes on.
    pruned_to: AtomicU64,
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
    /// Whoever else uses the pool must give back connections without an open transaction: the store's
    /// statements would become part of it. Nor may the pool set `client_encoding` on its connections, which
    /// the driver has done: where that is set again, the store takes a pooler to stand between, and does
    /// without prepared statements and without cancelling.
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

    /// Lends a connection of the store to the caller's own code, alive as of now, which costs a
    /// round trip.
    ///
    /// End what you begin: a transaction left open would take the store's next statements in.
    /// Calling a store on a single client from within waits for itself, until its timeout has passed.
    /// The store's timeout does not end `work`. In [`Offload::run`](crate::Offload::run), the facade's
    /// does: what runs on the server then is cancelled. The client's own `cancel_token` serves where the
    /// connection is of your making; those of [`connect`](Self::connect) are reached in the store's way.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] or [`Error::Disconnected`] where no connection could be had, and then
    /// `work` was not run.
    ///
    /// # Panics
    ///
    /// Where `work` does; the connection serves on.
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
        self.lend(work)
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
