//! Every operation on the table goes through [`PostgresStore::run`]. It lends the operation a connection,
//! and attempts it again if that helps.

use std::{
    error::Error as _,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use postgres::{
    Client,
    error::{Severity, SqlState},
};
use postgres_connect::is_async_context;

use super::{
    PostgresStore,
    connection::{Connection, Effect, Failure},
    source::{Backend, Lease},
};
use crate::{Error, blocking::blocking, deadline::Deadline, error::DatabaseError};

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// The longest wait for the pool before its last failure to connect is looked at.
const LEASE: Duration = Duration::from_millis(250);

/// Of a write that was carried out although it was cancelled.
const LATE: &str = "it was carried out when its time was up, and perhaps on this server only";

const UNSENT: &str = "the time was up before the statement was sent";

const CANCELLED: &str = "the statement took too long and was cancelled";

/// The SQLSTATE of `idle_in_transaction_session_timeout`.
const IDLE_IN_TRANSACTION: &str = "25P03";

/// The SQLSTATE of `transaction_timeout`, which PostgreSQL has since version 17.
const TRANSACTION_TIMEOUT: &str = "25P04";

/// A call with less time left is not sent, because the server would have to cancel it at once.
const TOO_SHORT: Duration = Duration::from_millis(1);

/// How an attempt has failed.
enum Failed {
    /// The connection broke before there was an answer.
    Broken(DatabaseError),
    /// Nothing was done, and the same may succeed later.
    Again(Error),
    /// Nothing was done, because the server is a standby. Another one may take writes.
    Standby(Error),
    Finally(Error),
}

impl PostgresStore {
    /// Lets `work` use a connection, and returns its result.
    ///
    /// If the connection breaks, `work` is executed again on another one, until the store's timeout has
    /// passed, unless a statement of [`Effect::Unknown`] has no answer. [`Connection::interrupted`] tells
    /// `work` if a statement of [`Effect::Provable`] had none.
    pub(super) fn run<T>(
        &self,
        mut work: impl FnMut(&mut Connection<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let deadline = Deadline::within(self.timeout);
        blocking(|| deadline.scope(|| self.attempts(&deadline, &mut work)))
    }

    /// Lends `work` a connection that has just answered. Its statements are cancelled at the deadline of the call
    /// that it is part of, if there is one. Otherwise they have no time limit.
    pub(super) fn lend<T>(&self, work: impl FnOnce(&mut Client) -> T) -> Result<T, Error> {
        let until = Deadline::current();
        let deadline = Deadline::within(self.timeout);
        blocking(|| {
            let mut connection = deadline.scope(|| self.living(&deadline))?;
            Ok(connection.lend(until.as_ref(), work))
        })
    }

    fn attempts<T>(
        &self,
        deadline: &Deadline,
        work: &mut impl FnMut(&mut Connection<'_>) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        // Why an attempt has no answer that may have been carried out.
        let mut interrupted: Option<DatabaseError> = None;
        // The server process of an attempt that is to be ended before the next.
        let mut earlier: Option<Backend> = None;
        // One call at a time leaves standbys, so that reads continue on the other connections.
        let mut leaving: Option<MutexGuard<'_, ()>> = None;
        let mut attempt = 0;
        loop {
            pause(attempt, deadline);
            attempt += 1;
            let lease = match self.lease(deadline) {
                Ok(lease) => lease,
                Err(error) => return Err(interrupted.map_or(error, Error::Disconnected)),
            };
            let mut connection = Connection::new(self, lease, deadline, interrupted.clone());
            let ended = self.attempt(&mut connection, |connection| {
                if let Some(backend) = &earlier {
                    connection.end(backend)?;
                }
                work(connection)
            });
            let (repeats, error) = match ended {
                Ok(done) => return Ok(done),
                Err(Failed::Broken(cause)) => {
                    let error = self.lost(deadline, &cause);
                    let backend = connection.backend();
                    match connection.effect() {
                        Effect::None => {}
                        Effect::Provable if backend.is_some() => interrupted = Some(cause),
                        _ => return Err(Error::Disconnected(cause)),
                    }
                    earlier = backend.or(earlier);
                    (self.source.renews(), error)
                }
                Err(Failed::Again(error)) => (true, error),
                Err(Failed::Standby(error)) => {
                    leaving = leaving.or_else(|| try_lock(&self.leaving));
                    if leaving.is_some() {
                        connection.leave();
                    }
                    (leaving.is_some(), error)
                }
                Err(Failed::Finally(error)) => (false, error),
            };
            if !repeats || deadline.has_passed() {
                // An earlier attempt may have been carried out, even if this one was not.
                return Err(interrupted.map_or(error, Error::Disconnected));
            }
        }
    }

    fn attempt<T>(
        &self,
        connection: &mut Connection<'_>,
        work: impl FnOnce(&mut Connection<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failed> {
        let done = match catch_unwind(AssertUnwindSafe(|| work(connection))) {
            Ok(done) => done,
            Err(panic) => {
                if !is_async_context(&*panic) {
                    connection.clean();
                }
                resume_unwind(panic)
            }
        };
        let done = match done {
            Ok(_) if connection.may_be_here_only() => Err(Failed::Finally(Error::Disconnected(
                DatabaseError::new(LATE),
            ))),
            Ok(done) => Ok(done),
            Err(Failure::Driver(error)) => Err(self.judge(&error, connection)),
            Err(Failure::Late) => Err(Failed::Finally(timed_out(connection.deadline(), UNSENT))),
            Err(Failure::Final(error)) => Err(Failed::Finally(error)),
        };
        connection.clean();
        done
    }

    fn judge(&self, error: &postgres::Error, connection: &mut Connection<'_>) -> Failed {
        let told = || self.explain(error);
        let Some(server) = error.as_db_error() else {
            let network = error.source().and_then(|cause| cause.downcast_ref());
            // The driver says so of a message that is too large to be sent.
            let is_refused = network.is_some_and(is_invalid_input);
            if !is_refused && (network.is_some() || error.is_closed() || connection.is_closed()) {
                return self.broken(error);
            }
            return Failed::Finally(told());
        };
        match server.code().code() {
            // The time limits of an open transaction. Its end is certain.
            IDLE_IN_TRANSACTION | TRANSACTION_TIMEOUT => {
                connection.notice_end();
                Failed::Finally(told())
            }
            code if is_fatal(server.parsed_severity()) || code.starts_with("08") => {
                connection.notice_end();
                self.broken(error)
            }
            _ => match *server.code() {
                SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                    Failed::Again(told())
                }
                SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::FEATURE_NOT_SUPPORTED
                    if connection.forget_prepared() =>
                {
                    Failed::Again(told())
                }
                SqlState::READ_ONLY_SQL_TRANSACTION
                    if self.source.renews() && connection.is_standby() =>
                {
                    Failed::Standby(told())
                }
                SqlState::QUERY_CANCELED if connection.deadline().has_passed() => {
                    Failed::Finally(timed_out(connection.deadline(), CANCELLED))
                }
                _ => Failed::Finally(told()),
            },
        }
    }

    fn broken(&self, error: &postgres::Error) -> Failed {
        *lock(&self.last_broken) = Some(Instant::now());
        Failed::Broken(error.into())
    }

    /// Whether a connection has broken after this instant. The others may be closed as well.
    pub(super) fn has_broken_since(&self, instant: Instant) -> bool {
        lock(&self.last_broken).is_some_and(|broken| broken >= instant)
    }

    /// Returns a connection that has just answered.
    fn living<'a>(&'a self, deadline: &'a Deadline) -> Result<Connection<'a>, Error> {
        let mut attempt = 0;
        loop {
            pause(attempt, deadline);
            attempt += 1;
            let mut connection = Connection::new(self, self.lease(deadline)?, deadline, None);
            let error = match connection.ping() {
                Ok(()) => return Ok(connection),
                Err(Failure::Driver(error)) => self.lost(deadline, &DatabaseError::from(&error)),
                Err(Failure::Late) => timed_out(deadline, UNSENT),
                Err(Failure::Final(error)) => error,
            };
            connection.clean();
            if !self.source.renews() || deadline.has_passed() {
                return Err(error);
            }
        }
    }

    /// Waits for a connection. If there is none in time, the error says why the last could not be opened.
    fn lease(&self, deadline: &Deadline) -> Result<Box<dyn Lease + '_>, Error> {
        let until = Deadline::within(self.checkout_timeout);
        if deadline.remaining() < TOO_SHORT {
            return Err(timed_out(deadline, UNSENT));
        }
        while deadline.remaining() >= TOO_SHORT {
            // A pool tells its last failure to one of its waiters only, so all of them ask early.
            match self
                .source
                .lease((until.remaining() / 2).clamp(TOO_SHORT, LEASE))
            {
                Ok(lease) => {
                    *lock(&self.last_failure) = None;
                    return Ok(lease);
                }
                Err(Some(cause)) => *lock(&self.last_failure) = Some(cause),
                Err(None) => {}
            }
            if until.has_passed() {
                break;
            }
        }
        let cause = lock(&self.last_failure).clone();
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        Err(timed_out(
            deadline,
            format!("no connection was free{cause}"),
        ))
    }

    /// The error of a call that had no effect, if it cannot be sent again after its connection broke.
    fn lost(&self, deadline: &Deadline, cause: &DatabaseError) -> Error {
        match self.source.renews() {
            true => timed_out(deadline, cause.to_string()),
            false => Error::Database(DatabaseError::new(&format!(
                "{}; this store has no other connection: make a new store, or use a pool",
                cause.message()
            ))),
        }
    }

    fn explain(&self, error: &postgres::Error) -> Error {
        let source = DatabaseError::of_call(error);
        let missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
        if source.code().is_some_and(|code| missing.contains(code)) {
            return Error::MissingTable {
                table: self.table.to_string(),
                source,
            };
        }
        Error::Database(source)
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock(mutex: &Mutex<()>) -> Option<MutexGuard<'_, ()>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(e)) => Some(e.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn timed_out(deadline: &Deadline, reason: impl Into<String>) -> Error {
    Error::TimedOut {
        waited: deadline.elapsed(),
        reason: reason.into(),
    }
}

/// Waits before an attempt, longer each time. Not before the second one, because the connection of the first
/// had most likely been closed for long.
fn pause(attempt: u32, deadline: &Deadline) {
    if attempt > 1 {
        let pause = Duration::from_millis(1 << attempt.min(8));
        thread::sleep(pause.min(MAX_PAUSE).min(deadline.remaining()));
    }
}

fn is_invalid_input(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

fn is_fatal(severity: Option<Severity>) -> bool {
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}
