//! The error of this crate.

use std::{convert::Infallible, error::Error as StdError, fmt};

use postgres::error::SqlState;

use crate::attempt::Attempt;

/// The reason why a connection could not be opened.
///
/// The text says what was tried, why each attempt failed and what may help. It never contains a password.
///
/// # Examples
///
/// ```
/// let error = postgres_connect::connect("host=db.example.com sslmode=always").err().unwrap();
/// assert!(error.is_invalid_option());
/// assert!(error.to_string().contains("verify-full"));
/// ```
#[derive(Clone)]
pub struct Error {
    kind: Kind,
    text: String,
}

#[derive(Clone)]
enum Kind {
    InvalidOption,
    AsyncContext,
    Connection(Option<SqlState>),
}

impl Error {
    pub(crate) fn invalid_option(text: impl Into<String>) -> Error {
        Error {
            kind: Kind::InvalidOption,
            text: text.into(),
        }
    }

    pub(crate) fn async_context() -> Error {
        Error {
            kind: Kind::AsyncContext,
            text: "connecting blocks its thread, which an async task must not do: connect inside \
                   `tokio::task::spawn_blocking`"
                .to_owned(),
        }
    }

    /// The driver panicked while it connected.
    pub(crate) fn panicked() -> Error {
        Error {
            kind: Kind::Connection(None),
            text:
                "cannot connect: the driver panicked, possibly because no file descriptor is left"
                    .to_owned(),
        }
    }

    pub(crate) fn of_attempts(user: &str, dbname: &str, attempts: &[Attempt]) -> Error {
        let tried: Vec<_> = attempts.iter().map(Attempt::to_string).collect();
        let code = attempts.iter().rev().find_map(|attempt| attempt.code());
        Error {
            kind: Kind::Connection(code.cloned()),
            text: format!(
                "cannot connect as user {user:?} to database {dbname:?}: {}",
                tried.join("; ")
            ),
        }
    }

    /// Returns whether an option or a connection string is invalid, or names a file that cannot be used. No
    /// connection was attempted.
    pub fn is_invalid_option(&self) -> bool {
        matches!(self.kind, Kind::InvalidOption)
    }

    /// Returns whether an async task tried to connect. Connect inside `tokio::task::spawn_blocking` instead.
    pub fn is_async_context(&self) -> bool {
        matches!(self.kind, Kind::AsyncContext)
    }

    /// Returns the SQLSTATE of the last server that sent one, or `None` if no server answered with an error.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match &self.kind {
            Kind::Connection(code) => code.as_ref(),
            _ => None,
        }
    }
}

/// The error of a connection that was already open.
impl From<&postgres::Error> for Error {
    fn from(error: &postgres::Error) -> Error {
        let text = describe(error);
        Error {
            kind: Kind::Connection(error.code().cloned()),
            text: match error.code() {
                Some(code) => format!("PostgreSQL: {text} (SQLSTATE {})", code.code()),
                None => format!("PostgreSQL: {text}"),
            },
        }
    }
}

/// For options that need no parsing.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Error {
        match never {}
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres_connect::Error({self})")
    }
}

impl StdError for Error {}

/// Returns the message of a driver's error.
///
/// This is the server's primary message if the server reported the error, or else the error and its causes. The
/// server's DETAIL, HINT and CONTEXT are left out because they can quote data. The text of a [`postgres::Error`]
/// itself contains only its kind, for example "db error".
///
/// # Examples
///
/// ```no_run
/// use postgres_connect::describe;
///
/// let mut client = postgres_connect::connect("host=db.example.com")?;
/// if let Err(error) = client.batch_execute("SELECT * FROM missing") {
///     eprintln!("{}", describe(&error)); // relation "missing" does not exist
/// }
/// # Ok::<(), postgres_connect::Error>(())
/// ```
pub fn describe(error: &postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        return server.message().to_owned();
    }
    // The causes come from the network, TLS or the driver. They contain addresses, but no data.
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
