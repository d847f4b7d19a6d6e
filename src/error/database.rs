//! The errors of PostgreSQL.

use std::{error::Error as StdError, fmt};

use postgres::error::SqlState;
use postgres_connect::describe;

/// The class of SQLSTATEs that are about data.
const DATA_EXCEPTION: &str = "22";

/// An error of PostgreSQL, or of the connection to it.
///
/// `Display` shows the message, the SQLSTATE and, for some errors, what may help. It shows nothing of what is
/// stored: the server's DETAIL, HINT and CONTEXT are left out because they can quote the row, and so is the
/// message of an error about data (SQLSTATE class 22). The text that one of your own triggers raises is kept.
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

    /// The error of a statement with a key or a value among its parameters. The server's message may quote them
    /// if it rejects them.
    pub(crate) fn of_call(error: &postgres::Error) -> DatabaseError {
        let error = DatabaseError::from(error);
        match &error.code {
            Some(code) if code.code().starts_with(DATA_EXCEPTION) => DatabaseError {
                message: "the table does not accept the data; the server's log has the message, which may quote \
                          the data"
                    .to_owned(),
                ..error
            },
            _ => error,
        }
    }

    /// Returns the SQLSTATE, or `None` if the error does not come from the server.
    pub fn code(&self) -> Option<&SqlState> {
        self.code.as_ref()
    }

    /// Returns the server's primary message. If the error does not come from the server, returns its text.
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

/// Returns what may help, if the server's message does not say it.
fn advice(code: &SqlState) -> Option<&'static str> {
    match *code {
        SqlState::READ_ONLY_SQL_TRANSACTION => Some(
            "sessions need a server that accepts writes; list all servers in `host`, with \
             `target_session_attrs=read-write`",
        ),
        SqlState::INVALID_SCHEMA_NAME => Some(
            "name an existing schema with `PostgresStore::builder().schema(…)` or in the role's \
             `search_path`, or create the schema with CREATE SCHEMA",
        ),
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => Some(
            "a pooler between the program and the server does not support prepared statements: turn them off \
             with `PostgresStore::builder().prepared(false)`",
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
