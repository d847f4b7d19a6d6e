//! The options of a store.

use std::time::Duration;

use postgres::{NoTls, Socket, tls::MakeTlsConnect};

use super::{
    connection::PreparePolicy,
    make_canceller::MakeCanceller,
    names::{ColumnNames, Columns, Names, ValueType},
};
#[cfg(doc)]
use crate::PostgresStore;
use crate::{
    DEFAULT_PERIOD, Error, Period,
    observe::DEFAULT_SLOW_THRESHOLD,
    period::{RenewAfter, check_max_age},
};

/// The most partitions of a table. A batch locks all of them and their indexes, and the server has by default place for
/// about 12,800 locks of all transactions.
const MAX_PARTITIONS: u32 = 64;

/// Options for a [`PostgresStore`], created with [`PostgresStore::builder`].
///
/// | option | default |
/// |---|---|
/// | [`table`](Self::table) | `session` |
/// | [`schema`](Self::schema) | found by the `search_path` |
/// | [`columns`](Self::columns) | those of the recommended table |
/// | [`value_type`](Self::value_type) | text |
/// | [`hash_keys`](Self::hash_keys) | off |
/// | [`partitions`](Self::partitions) of a new table | none |
/// | [`default_period`](Self::default_period) of a session | one week |
/// | [`renew_after`](Self::renew_after) | a tenth of the period |
/// | [`max_age`](Self::max_age) of a session | no limit |
/// | [`timeout`](Self::timeout) of an operation | 30 seconds |
/// | [`slow_threshold`](Self::slow_threshold) of a call | 1 second |
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
    pub(super) names: Names,
    pub(super) value_type: ValueType,
    pub(super) hash_keys: bool,
    pub(super) partitions: Option<u32>,
    pub(super) prepare: PreparePolicy,
    pub(super) timeout: Duration,
    pub(super) default_period: Period,
    pub(super) renew_after: RenewAfter,
    pub(super) max_age: Option<Period>,
    pub(super) max_connections: u32,
    pub(super) min_idle: u32,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) checkout_timeout: Option<Duration>,
    pub(super) slow_threshold: Duration,
    pub(super) make_canceller: MakeCanceller,
}

impl Default for PostgresStoreBuilder {
    fn default() -> Self {
        PostgresStoreBuilder {
            names: Names::default(),
            value_type: ValueType::default(),
            hash_keys: false,
            partitions: None,
            prepare: PreparePolicy::IfDirect,
            timeout: Duration::from_secs(30),
            default_period: DEFAULT_PERIOD,
            renew_after: RenewAfter::default(),
            max_age: None,
            max_connections: 10,
            min_idle: 0,
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            checkout_timeout: None,
            slow_threshold: DEFAULT_SLOW_THRESHOLD,
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
        self.names.table.set_name(name)?;
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
        self.names.table.set_schema(name)?;
        Ok(self)
    }

    /// Sets the names of the columns, if another program has created the sessions table. They are quoted
    /// like the name of the table.
    ///
    /// Other columns of the table get their default values in new rows. [`check`](PostgresStore::check) says what does
    /// not fit.
    ///
    /// Defaults to [`Columns::default`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] as for [`table`](Self::table).
    pub fn columns(mut self, columns: Columns<'_>) -> Result<Self, Error> {
        self.names.columns = ColumnNames::parse(columns)?;
        Ok(self)
    }

    /// Sets the type of the values' column.
    ///
    /// Defaults to [`ValueType::Text`].
    pub fn value_type(mut self, value_type: ValueType) -> Self {
        self.value_type = value_type;
        self
    }

    /// Sets whether the table contains hashes of the keys. Only the visitor's cookie then has the key, so a copy of the
    /// table, for example a backup, cannot be used to take over a session.
    ///
    /// `sql/hash-keys.sql` converts a table, and all sessions stay valid. It renames the column of the key to
    /// `session_key_hash`, and a store with this option uses that name. So if the setting does not match the table,
    /// calls fail with [`Error::MissingColumn`]. If you choose another name by [`columns`](Self::columns), rename the
    /// column when you convert the table: a store with the wrong setting finds no session otherwise.
    ///
    /// A hash is the first 240 bits of SHA-256, in 40 characters. The guide on [logins](crate::guide::logins) says what
    /// it protects against.
    ///
    /// Defaults to `false`.
    pub fn hash_keys(mut self, on: bool) -> Self {
        self.hash_keys = on;
        self
    }

    /// Sets the number of hash partitions of the table that [`create_table`](PostgresStore::create_table) creates. Nothing
    /// else depends on this option: a store works with any number of partitions, and with none.
    ///
    /// The partitions are named after the table: `session_p0`, `session_p1` and so on, in the same schema. If such a name is
    /// longer than PostgreSQL's 63 bytes, the name of the table is cut in it.
    ///
    /// The guide on [partitions](crate::guide::partitions) says when they pay. Each call becomes slower with their number.
    ///
    /// Defaults to none: the table is not partitioned.
    ///
    /// # Panics
    ///
    /// If `count` is 0, or more than 64.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{PostgresStore, Store};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::builder().partitions(8).connect(url)?;
    /// store.create_table()?;
    /// let key = store.generate(Some("lobster"), None)?;
    /// assert_eq!(store.get(&key)?.value, "lobster");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn partitions(mut self, count: u32) -> Self {
        assert!(
            (1..=MAX_PARTITIONS).contains(&count),
            "partitions must be from 1 to {MAX_PARTITIONS}"
        );
        self.partitions = Some(count);
        self
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

    /// Sets the fraction of the period that must have passed before [`renew`](crate::Store::renew) restarts it.
    ///
    /// With a larger fraction, `renew` writes less often, and a session may end earlier after its last use. With 0, it
    /// writes each time.
    ///
    /// Defaults to 0.1, a tenth.
    ///
    /// # Panics
    ///
    /// If it is not from 0 to 1.
    pub fn renew_after(mut self, fraction: f64) -> Self {
        self.renew_after = RenewAfter::new(fraction);
        self
    }

    /// Sets the age at which a session ends, no matter how often it is renewed or rotated (absolute timeout). `None` sets
    /// no limit.
    ///
    /// The age is the time since `created_at`, by the clock of the server. The table must have this column: otherwise,
    /// calls fail with [`Error::MissingColumn`]. A session whose `created_at` is NULL is too old. A change of this option
    /// applies to existing sessions, too.
    ///
    /// Set the same limit in all programs that share the table. Other programs find sessions that are too old here, until
    /// a [`Pruner`](crate::Pruner) of this store removes them.
    ///
    /// Defaults to `None`.
    ///
    /// # Panics
    ///
    /// If it is zero or less, or longer than [`MAX_PERIOD`](crate::MAX_PERIOD).
    pub fn max_age(mut self, age: impl Into<Option<Period>>) -> Self {
        self.max_age = check_max_age(age.into());
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

    /// Sets the time after which a call is slow. Slow calls are counted in
    /// [`CallStats::slow`](crate::CallStats::slow), and cause an event with the feature `tracing`. Passes for expired rows
    /// are not counted as slow. With `Duration::MAX`, no call is.
    ///
    /// Defaults to 1 second.
    pub fn slow_threshold(mut self, time: Duration) -> Self {
        self.slow_threshold = time;
        self
    }

    /// Sets how long an operation waits for a free or new connection. Then it fails with [`Error::TimedOut`].
    ///
    /// Defaults to its whole [`timeout`](Self::timeout).
    pub fn checkout_timeout(mut self, timeout: Duration) -> Self {
        self.checkout_timeout = Some(timeout);
        self
    }
}

/// `r2d2` panics without naming the option.
fn not_zero(option: &str, time: Option<Duration>) -> Option<Duration> {
    assert!(time != Some(Duration::ZERO), "{option} must not be zero");
    time
}
