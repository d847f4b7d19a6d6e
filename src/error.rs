//! What can go wrong, as callers see it.

use std::{convert::Infallible, error::Error as StdError, fmt, sync::Arc, time::Duration};

use postgres::error::SqlState;
use postgres_connect::describe;

use crate::{ConnectError, InvalidKey, Period};

/// Why a call did not do what was asked.
///
/// Every variant except [`Disconnected`](Error::Disconnected) and [`StillRunning`](Error::StillRunning) means
/// that the call changed nothing and will change nothing. No error's text, `Debug` or source holds a key, a
/// value or a password, except for what a trigger of yours raises, which is passed on as it is.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no session of this key: it never was, was cleared, or has expired.
    #[error("no such session: the key is unknown, cleared or expired")]
    NotFound,

    /// The session is there, but nobody has set a value yet.
    #[error("the session has no value yet")]
    NotSet,

    /// [`insert`](crate::Store::insert) of a key that a living session has.
    #[error("a living session has this key already")]
    KeyExists,

    /// The text is no key that a store could have made.
    #[error("invalid session key")]
    InvalidKey(#[from] InvalidKey),

    /// The value cannot be stored as it is, and is not cut to fit.
    #[error("invalid value: {0}")]
    InvalidValue(&'static str),

    /// The period is outside of [`MIN_PERIOD`](crate::MIN_PERIOD) to
    /// [`MAX_PERIOD`](crate::MAX_PERIOD).
    #[error("period of {} s is out of range: at most 290,000 years, at least -6,000 years", period.whole_seconds())]
    PeriodOutOfRange {
        /// The period that was asked for.
        period: Period,
    },

    /// The store was asked to be built with something that cannot be.
    #[error("invalid option: {0}")]
    InvalidOption(String),

    /// The call was not done in time. It had no effect and will have none.
    ///
    /// There was no connection or no worker for it, or the server has cancelled the statement.
    #[error("not done within {waited:?}: {reason}")]
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
        /// What the call waited for. If connections cannot be opened, why the last one could not.
        reason: String,
    },

    /// The time of a call to an [`Offload`](crate::Offload) is up, and the store has not stopped it. The call
    /// may still run, and may still have its effect.
    ///
    /// A [`PostgresStore`](crate::PostgresStore) stops its calls in time, unless its connections are of your
    /// making and the server does not answer a cancel request. Other stores, and closures given to
    /// [`Offload::run`](crate::Offload::run), go on until they end.
    #[error("not done within {waited:?}, and it may still run: the store has not stopped it")]
    StillRunning {
        /// How long the caller waited.
        waited: Duration,
    },

    /// Another transaction keeps the session locked. The call had no effect.
    ///
    /// Only the verbs that begin with `try_` return this, for example
    /// [`Store::try_set_many`](crate::Store::try_set_many). The others wait.
    #[error("another transaction keeps the session locked")]
    Locked,

    /// A call that blocks was made by an async task. It was not carried out.
    #[error(
        "this call blocks its thread, which an async task must not do: use `Offload`, or call it inside \
         `tokio::task::spawn_blocking`"
    )]
    AsyncContext,

    /// So many calls wait already that this one was turned away, at once.
    #[error(
        "{waiting} calls wait already: try again later, or allow more with `OffloadBuilder::max_waiting` \
         or `max_waiting_bytes`"
    )]
    Overloaded {
        /// How many calls wait.
        waiting: usize,
    },

    /// The runtime shut down before the call was taken: it was not carried out.
    #[error("the tokio runtime shut down before the call was taken")]
    Cancelled,

    /// An async call was made where there is no tokio runtime: it was not carried out.
    #[error("no tokio runtime here: call from a task, inside `block_on`, or with `Handle::enter`")]
    NoRuntime,

    /// The connection broke before the server had answered a write. The server may or may not have carried
    /// it out, or may carry it out later. Reads never return this.
    #[error("the connection to PostgreSQL broke; the write may or may not have taken effect")]
    Disconnected(#[source] DatabaseError),

    /// The sessions table is not there.
    #[error(
        "table {table} does not exist: make it with `PostgresStore::create_table` or sql/create.sql, \
         or name the right one with `PostgresStore::builder().schema(…).table(…)`"
    )]
    MissingTable {
        /// The table's name, quoted.
        table: String,
        /// What the server said.
        source: DatabaseError,
    },

    /// The sessions table is not as the store needs it; see
    /// [`check`](crate::PostgresStore::check).
    #[error("table {table} cannot hold sessions: {}", problems.join("; "))]
    UnfitTable {
        /// The table's name, quoted.
        table: String,
        /// One sentence a fault: what is wrong, and what would be right.
        problems: Vec<String>,
    },

    /// No server could be connected to.
    #[error(transparent)]
    Connect(ConnectError),

    /// PostgreSQL refused.
    #[error(transparent)]
    Database(#[from] DatabaseError),

    /// The operating system gave no randomness for a key.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),

    /// A failure of a [`Store`](crate::Store) that is not of this crate.
    #[error(transparent)]
    Other(Arc<dyn StdError + Send + Sync>),
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

/// Options that need no parsing.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Error {
        match never {}
    }
}

impl Error {
    /// Wraps the failure of another backend.
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

    /// The SQLSTATE that the server gave, where it gave one.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Error::Database(e) | Error::Disconnected(e) => e.code(),
            Error::Connect(e) => e.sqlstate(),
            Error::MissingTable { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Whether a statement has waited for a lock for longer than it may.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        self.sqlstate() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }
}

/// The class of SQLSTATEs that are about data.
const DATA_EXCEPTION: &str = "22";

/// What PostgreSQL or the connection to it said: enough to act on, and nothing of what was stored.
///
/// The server's DETAIL, HINT and CONTEXT are left out, for they may quote the row, and so is its message
/// where it is about data (SQLSTATE class 22). What a trigger of your own raises is passed on.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseError {
    code: Option<SqlState>,
    message: String,
}

impl DatabaseError {
    pub(crate) fn new(message: &str) -> DatabaseError {
        DatabaseError {
            code: None,
            message: message.to_owned(),
        }
    }

    /// Of a statement that had a key or a value with it: what a server says of data that it does not take
    /// may quote them.
    pub(crate) fn of_call(error: &postgres::Error) -> DatabaseError {
        let mut told = DatabaseError::from(error);
        let code = told.code().map_or("", SqlState::code);
        if code.starts_with(DATA_EXCEPTION) {
            told.message =
                "the table does not take these data; the server's own words may quote them, \
                            and are in its log"
                    .to_owned();
        }
        told
    }

    /// The SQLSTATE, where it was the server that spoke.
    pub fn code(&self) -> Option<&SqlState> {
        self.code.as_ref()
    }

    /// The server's primary message, or what failed on the way to it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => {
                write!(f, "PostgreSQL: {} (SQLSTATE {})", self.message, code.code())?;
                advice(code).map_or(Ok(()), |advice| write!(f, ": {advice}"))
            }
            None => write!(f, "PostgreSQL: {}", self.message),
        }
    }
}

/// What helps, where the server's message does not say it.
fn advice(code: &SqlState) -> Option<&'static str> {
    match *code {
        SqlState::READ_ONLY_SQL_TRANSACTION => Some(
            "sessions need a server that takes writes; name all servers in `host`, with \
             `target_session_attrs=read-write`",
        ),
        SqlState::INVALID_SCHEMA_NAME => Some(
            "name a schema that exists with `PostgresStore::builder().schema(…)` or in the role's \
             `search_path`, or create it with CREATE SCHEMA",
        ),
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => Some(
            "a pooler stands between that does not keep prepared statements apart; do without, by \
             `PostgresStore::builder().prepared(false)`",
        ),
        _ => None,
    }
}

impl fmt::Debug for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseError({self})")
    }
}

impl StdError for DatabaseError {}

impl From<&postgres::Error> for DatabaseError {
    fn from(error: &postgres::Error) -> Self {
        DatabaseError {
            code: error.code().cloned(),
            message: describe(error),
        }
    }
}
