//! The errors of calls.

mod database;
mod kind;

use std::{convert::Infallible, error::Error as StdError, sync::Arc, time::Duration};

use postgres::error::SqlState;

pub(crate) use self::kind::KINDS;
pub use self::{database::DatabaseError, kind::ErrorKind};
use crate::{ConnectError, InvalidKey, Period};

/// The reason why a call failed.
///
/// A call that failed had no effect and will have none. The exceptions are [`Disconnected`](Error::Disconnected),
/// [`StillRunning`](Error::StillRunning), [`Partial`](Error::Partial), and possibly [`Other`](Error::Other).
///
/// The text, the `Debug` output and the sources of an error contain no key, no value and no password. The only
/// exception is the text that one of your own triggers raises.
///
/// # What to do
///
/// | errors | what to do |
/// |---|---|
/// | `NotFound`, `NotSet`, `KeyExists`, `InvalidKey` | handle it: for example, the visitor is not logged in |
/// | `InvalidValue`, `InvalidOwner`, `PeriodOutOfRange`, `AsyncContext`, `NoRuntime`, `OtherServer` | correct the program |
/// | `InvalidOption`, `Connect`, `MissingTable`, `MissingColumn`, `UnfitTable`, `ShardMap` | correct the configuration, the server or the table |
/// | `TimedOut`, `Overloaded`, `Locked`, `Cancelled`, `NotOpen` | try again later, or answer 503 |
/// | `Partial` | look at the errors in it, and repeat the call |
/// | `Disconnected`, `StillRunning` | read the session to see the effect, or repeat the call if that does no harm |
/// | `Database`, `Randomness`, `Other` | log it |
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The session does not exist: the key was never used, or the session was cleared or has expired.
    #[error("no such session: the key is unknown, cleared or expired")]
    NotFound,

    /// The session exists but has no value yet. [`set`](crate::Store::set) gives it one.
    #[error("the session has no value yet")]
    NotSet,

    /// [`insert`](crate::Store::insert) or [`rotate_to`](crate::Store::rotate_to) was called with the key of an existing
    /// session, which was not changed.
    #[error("a session has this key already")]
    KeyExists,

    /// The text is not a session key, so there is no such session.
    #[error("invalid session key")]
    InvalidKey(#[from] InvalidKey),

    /// The value cannot be stored unchanged: it is too long, or contains a NUL character.
    #[error("invalid value: {0}")]
    InvalidValue(&'static str),

    /// The name of an owner is empty, longer than 255 bytes, or contains a NUL character.
    #[error("invalid owner: {0}")]
    InvalidOwner(&'static str),

    /// The period is shorter than [`MIN_PERIOD`](crate::MIN_PERIOD) or longer than
    /// [`MAX_PERIOD`](crate::MAX_PERIOD).
    #[error("period of {} s is out of range: at most 290,000 years, at least -6,000 years", period.whole_seconds())]
    PeriodOutOfRange {
        /// The period of the call, or the default period.
        period: Period,
    },

    /// An option of a store or connection is invalid. No store was built or changed.
    #[error("invalid option: {0}")]
    InvalidOption(String),

    /// The call did not end within its time limit. It had no effect and will have none.
    ///
    /// There was no free connection or worker for it, or the server cancelled its statement. The server may be
    /// overloaded, or another transaction may hold a lock for long.
    #[error("timed out after {waited:?}: {reason}")]
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
        /// Why the call did not end in time, for example `no connection was free`. If no connection could be opened,
        /// this includes the error of the last attempt. The guide on [operations](crate::guide::operations) lists the
        /// reasons.
        reason: String,
    },

    /// A call of an [`Offload`](crate::Offload) did not end within its time limit, and the store did not stop it.
    /// It may still run, and may still have an effect.
    ///
    /// A [`PostgresStore`](crate::PostgresStore) stops its calls in time if the server answers cancel requests. If it
    /// does not, the store can close only TCP connections that it has opened itself. Other stores, and closures given to
    /// [`Offload::run`](crate::Offload::run), run to their end.
    #[error("timed out after {waited:?}, and the call may still run: the store did not stop it")]
    StillRunning {
        /// How long the caller waited.
        waited: Duration,
    },

    /// Another transaction has locked the session. The call had no effect.
    ///
    /// Only methods whose names begin with `try_` return this, for example
    /// [`Store::try_set_many`](crate::Store::try_set_many). The others wait for the lock.
    #[error("another transaction has locked the session")]
    Locked,

    /// A blocking call was made on an async task. It had no effect. Use an [`Offload`](crate::Offload).
    #[error(
        "this call blocks its thread, which an async task must not do: use `Offload`, or call it inside \
         `tokio::task::spawn_blocking`"
    )]
    AsyncContext,

    /// Too many calls, or too many bytes of values, wait in an [`Offload`](crate::Offload). The call was rejected
    /// at once and had no effect. Try again later, or raise
    /// [`max_waiting`](crate::OffloadBuilder::max_waiting) or
    /// [`max_waiting_bytes`](crate::OffloadBuilder::max_waiting_bytes).
    #[error(
        "too many calls: {waiting} wait already; try again later, or raise `OffloadBuilder::max_waiting` or \
         `max_waiting_bytes`"
    )]
    Overloaded {
        /// How many calls wait.
        waiting: usize,
    },

    /// The tokio runtime shut down before the call was executed. It had no effect.
    #[error("the tokio runtime shut down before the call was executed")]
    Cancelled,

    /// An async call was made outside of a tokio runtime. It had no effect.
    #[error(
        "there is no tokio runtime: make the call on a task, inside `block_on`, or after `Handle::enter`"
    )]
    NoRuntime,

    /// A write may or may not have taken effect, or may still take effect. Reads never return this, except for
    /// a [`renew`](crate::Store::renew) that restarts the period.
    ///
    /// For example, the connection broke before the server answered, or the write was committed at its deadline but
    /// may not have reached the synchronous standby. The source of the error has the reason.
    ///
    /// Repeating `set`, `touch` or `clear` does no harm if no other caller writes to the session.
    #[error("the write may or may not have taken effect")]
    Disconnected(#[source] DatabaseError),

    /// The sessions table does not exist. The call had no effect.
    #[error(
        "table {table} does not exist: create it with `PostgresStore::create_table` or sql/create.sql, or set \
         its name with `PostgresStore::builder().schema(…).table(…)`"
    )]
    MissingTable {
        /// The quoted name of the table.
        table: String,
        /// The error of the server.
        source: DatabaseError,
    },

    /// The sessions table lacks a column that the call needs. The call had no effect. The source names the column.
    ///
    /// Owners and the absolute timeout need columns that the table of OCaml's session-postgresql does not have. A store
    /// with [`hash_keys`](crate::PostgresStoreBuilder::hash_keys) needs a table whose keys were hashed, and a store
    /// without it needs one whose keys were not.
    #[error(
        "table {table} lacks a column: sql/add-columns.sql adds those for owners and ages, sql/hash-keys.sql hashes the \
         keys, and `PostgresStore::builder().columns(…)` sets other names"
    )]
    MissingColumn {
        /// The quoted name of the table.
        table: String,
        /// The error of the server.
        source: DatabaseError,
    },

    /// The sessions table does not have what the store needs; see [`check`](crate::PostgresStore::check).
    #[error("table {table} cannot hold sessions: {}", problems.join("; "))]
    UnfitTable {
        /// The quoted name of the table.
        table: String,
        /// One sentence for each problem: what is wrong, and what is required.
        problems: Vec<String>,
    },

    /// No connection to a server could be opened. No store was built.
    ///
    /// Only the functions that create a store return this. A call that gets no connection fails with
    /// [`TimedOut`](Error::TimedOut).
    #[error(transparent)]
    Connect(ConnectError),

    /// PostgreSQL rejected the statement, or the only connection of the store is closed. The call had no effect.
    #[error(transparent)]
    Database(#[from] DatabaseError),

    /// A [`Sharded`](crate::Sharded) store cannot create this session now. The call had no effect, except possibly an
    /// [`insert_new`](crate::AsyncStore::insert_new).
    ///
    /// - [`insert`](crate::Store::insert): the caller has chosen the key and thereby the server, which is closed for new
    ///   sessions, or there is none. [`Store::new_key`](crate::Store::new_key) returns a key on a server that is open.
    /// - [`generate`](crate::Store::generate) and [`Store::new_key`](crate::Store::new_key): all servers are closed.
    #[error("the session cannot be created: {reason}")]
    NotOpen {
        /// Why, for example `server a is closed for new sessions`.
        reason: String,
    },

    /// The two keys of a [`rotate_to`](crate::Store::rotate_to) belong to different servers of a
    /// [`Sharded`](crate::Sharded) store. The call had no effect.
    ///
    /// Draw the new key with [`Store::new_key`](crate::Store::new_key), or call [`rotate`](crate::Store::rotate).
    #[error(
        "the new key belongs to another server, and a session stays on its server: draw the new key with \
         `new_key(Some(&key))`"
    )]
    OtherServer,

    /// Some servers of a [`Sharded`](crate::Sharded) store did not execute a call that concerns all of them.
    ///
    /// The call had its effect on the servers in `done`, and none on the others, unless their error says otherwise.
    /// [`owned`](crate::Store::owned), [`clear_owned`](crate::Store::clear_owned),
    /// [`clear_handle`](crate::Store::clear_handle) and [`prune`](crate::Store::prune) concern all servers. They can be
    /// repeated.
    #[error("{} of {} servers did not execute the call: {}", failed.len(), done.len() + failed.len(), list(failed))]
    Partial {
        /// The names of the servers that executed the call.
        done: Vec<String>,
        /// The names of the others, and their errors.
        failed: Vec<(String, Error)>,
    },

    /// The map of a [`Sharded`](crate::Sharded) store differs from the one that a server keeps. The call had no effect.
    ///
    /// With different maps, programs would not find each other's sessions. If the server keeps a newer map, this program
    /// needs it, too: see the guide on [scaling](crate::guide::scaling).
    #[error("server {server} does not accept the map of this program: {reason}")]
    ShardMap {
        /// The name of the server.
        server: String,
        /// The difference, and what to do.
        reason: String,
    },

    /// The operating system provided no random bytes for a key. The call had no effect.
    #[error("the operating system provided no random bytes: {0}")]
    Randomness(String),

    /// An error of a [`Store`](crate::Store) that is not part of this crate. Its documentation says whether the
    /// call had an effect.
    #[error(transparent)]
    Other(Arc<dyn StdError + Send + Sync>),
}

/// Lists the servers that failed, with their errors.
fn list(failed: &[(String, Error)]) -> String {
    let each = failed
        .iter()
        .map(|(server, error)| format!("{server}: {error}"));
    each.collect::<Vec<_>>().join("; ")
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Error {
        if error.is_invalid_option() {
            Error::InvalidOption(error.to_string())
        } else if error.is_async_context() {
            Error::AsyncContext
        } else {
            Error::Connect(error)
        }
    }
}

/// For closures that use both a `postgres::Client` and a store. Keeps the SQLSTATE and what [`DatabaseError`] shows.
impl From<postgres::Error> for Error {
    fn from(error: postgres::Error) -> Error {
        Error::Database(DatabaseError::of_call(&error))
    }
}

/// For options that need no parsing.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Error {
        match never {}
    }
}

impl Error {
    /// Wraps an error of another backend.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = session_postgres::Error::other("the disk is full");
    /// assert_eq!(error.to_string(), "the disk is full");
    /// ```
    pub fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error::Other(Arc::from(error.into()))
    }

    /// Returns the SQLSTATE of the server's error, if there is one.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Error::Database(e) | Error::Disconnected(e) => e.code(),
            Error::Connect(e) => e.sqlstate(),
            Error::MissingTable { source, .. } | Error::MissingColumn { source, .. } => {
                source.code()
            }
            _ => None,
        }
    }

    /// Whether a statement has waited for a lock until its `lock_timeout`.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        self.sqlstate() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }
}
