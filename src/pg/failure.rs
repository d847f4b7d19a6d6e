//! The meaning of a driver error for the operation.

use std::{error::Error as _, io, time::Instant};

use postgres::error::{Severity, SqlState};

use super::{PostgresStore, connection::Connection, mutex::lock};
use crate::{Error, deadline::Deadline, error::DatabaseError};

/// The reason of a timeout before the server got the statement.
pub(super) const UNSENT: &str = "the deadline passed before the statement was sent";

/// The reason of a timeout after the server got the statement.
const CANCELLED: &str = "the statement was cancelled at the deadline";

/// The SQLSTATE of `idle_in_transaction_session_timeout`.
const IDLE_IN_TRANSACTION: &str = "25P03";

/// The SQLSTATE of `transaction_timeout`, which PostgreSQL has since version 17.
const TRANSACTION_TIMEOUT: &str = "25P04";

/// The class of SQLSTATEs that concern the connection.
const CONNECTION_EXCEPTION: &str = "08";

/// Why an attempt at an operation has failed.
pub(super) enum FailedAttempt {
    /// The connection broke before the server answered.
    Broken(DatabaseError),
    /// Nothing was changed, and another attempt may succeed.
    Repeatable(Error),
    /// Nothing was changed, because the server is a standby. Another server may accept writes.
    OnStandby(Error),
    Final(Error),
}

impl PostgresStore {
    pub(super) fn classify(
        &self,
        error: &postgres::Error,
        connection: &mut Connection<'_>,
    ) -> FailedAttempt {
        let explained = || self.explain(error);
        let Some(server) = error.as_db_error() else {
            let network = error.source().and_then(|cause| cause.downcast_ref());
            // The driver refuses a message that is too large with this kind of error.
            let is_refused = network.is_some_and(is_invalid_input);
            if !is_refused && (network.is_some() || error.is_closed() || connection.is_closed()) {
                return self.broken(error);
            }
            return FailedAttempt::Final(explained());
        };
        match server.code().code() {
            // The server has aborted the transaction, so its outcome is certain.
            IDLE_IN_TRANSACTION | TRANSACTION_TIMEOUT => {
                connection.notice_close();
                FailedAttempt::Final(explained())
            }
            code if is_fatal(server.parsed_severity())
                || code.starts_with(CONNECTION_EXCEPTION) =>
            {
                connection.notice_close();
                self.broken(error)
            }
            _ => match *server.code() {
                SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                    FailedAttempt::Repeatable(explained())
                }
                SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::FEATURE_NOT_SUPPORTED
                    if connection.forget_prepared() =>
                {
                    FailedAttempt::Repeatable(explained())
                }
                // Another user of the connection has left it. Such a transaction can only be rolled back.
                SqlState::IN_FAILED_SQL_TRANSACTION => {
                    connection.must_roll_back();
                    FailedAttempt::Repeatable(explained())
                }
                SqlState::READ_ONLY_SQL_TRANSACTION
                    if self.source.replaces_closed() && connection.is_standby() =>
                {
                    FailedAttempt::OnStandby(explained())
                }
                SqlState::QUERY_CANCELED if connection.deadline().has_passed() => {
                    FailedAttempt::Final(timed_out(connection.deadline(), CANCELLED))
                }
                _ => FailedAttempt::Final(explained()),
            },
        }
    }

    fn broken(&self, error: &postgres::Error) -> FailedAttempt {
        let cause = error.into();
        self.note_broken(&cause);
        FailedAttempt::Broken(cause)
    }

    /// Notes that a connection has broken.
    pub(super) fn note_broken(&self, cause: &DatabaseError) {
        self.counters.broken_connection(cause);
        *lock(&self.last_broken) = Some(Instant::now());
    }

    /// Returns whether a connection has broken since `instant`. The others may be closed as well.
    pub(super) fn has_broken_since(&self, instant: Instant) -> bool {
        lock(&self.last_broken).is_some_and(|broken| broken >= instant)
    }

    /// The error of an operation that had no effect and whose connection broke, if it is not attempted again.
    pub(super) fn broken_error(&self, deadline: &Deadline, cause: &DatabaseError) -> Error {
        match self.source.replaces_closed() {
            true => timed_out(deadline, cause.to_string()),
            false => Error::Database(DatabaseError::new(&format!(
                "{}; the store cannot replace its only connection: create a new store, or use a pool",
                cause.message()
            ))),
        }
    }

    /// The error of a statement in a transaction of the caller.
    pub(super) fn explain_in_transaction(&self, error: &postgres::Error) -> Error {
        match Deadline::current() {
            Some(deadline)
                if deadline.has_passed() && error.code() == Some(&SqlState::QUERY_CANCELED) =>
            {
                timed_out(&deadline, CANCELLED)
            }
            _ => self.explain(error),
        }
    }

    fn explain(&self, error: &postgres::Error) -> Error {
        let source = DatabaseError::of_call(error);
        let missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
        if source.code().is_some_and(|code| missing.contains(code)) {
            return Error::MissingTable {
                table: self.names.table.to_string(),
                source,
            };
        }
        if source.code() == Some(&SqlState::UNDEFINED_COLUMN) {
            return Error::MissingColumn {
                table: self.names.table.to_string(),
                source,
            };
        }
        Error::Database(source)
    }
}

pub(super) fn timed_out(deadline: &Deadline, reason: impl Into<String>) -> Error {
    Error::TimedOut {
        waited: deadline.elapsed(),
        reason: reason.into(),
    }
}

fn is_invalid_input(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// Whether the server has answered a commit, so that its outcome is certain. A pooler may report that the connection to
/// the server broke.
pub(super) fn is_certain(error: &postgres::Error) -> bool {
    error.as_db_error().is_some_and(|server| {
        let code = server.code().code();
        [IDLE_IN_TRANSACTION, TRANSACTION_TIMEOUT].contains(&code)
            || !is_fatal(server.parsed_severity()) && !code.starts_with(CONNECTION_EXCEPTION)
    })
}

fn is_fatal(severity: Option<Severity>) -> bool {
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}
