//! Operations on the table, and when they are attempted again.
//!
//! Every operation goes through [`PostgresStore::with_connection`]. It checks out a connection ([`checkout`]),
//! executes the operation, and classifies an error ([`failure`]) to decide whether another attempt is safe and
//! useful.
//!
//! [`checkout`]: super::checkout
//! [`failure`]: super::failure

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::MutexGuard,
    thread,
    time::Duration,
};

use postgres::Client;
use postgres_connect::is_async_context;

use super::{
    PostgresStore,
    connection::{Connection, Effect, StatementError, foreign_transaction},
    connection_source::ServerProcess,
    failure::{FailedAttempt, UNSENT, timed_out},
    mutex::try_lock,
};
use crate::{Error, Method, blocking::blocking, deadline::Deadline, error::DatabaseError};

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// The reason of `Disconnected` for a write that a synchronous standby may lack.
const NOT_REPLICATED: &str = "the write was committed at its deadline, \
     but perhaps not replicated to the synchronous standby";

impl PostgresStore {
    /// Executes `work` with a connection and returns its result. Fails at the store's timeout.
    ///
    /// If the connection breaks, `work` is executed again with another one, unless a statement of
    /// [`Effect::Unknown`] was sent. If a statement of [`Effect::Provable`] was sent, `work` finds the error in
    /// [`Connection::unanswered`].
    pub(super) fn with_connection<T>(
        &self,
        mut work: impl FnMut(&mut Connection<'_>) -> Result<T, StatementError>,
    ) -> Result<T, Error> {
        let deadline = Deadline::within(self.timeout);
        blocking(|| deadline.scope(|| self.attempts(&deadline, &mut work)))
    }

    /// Executes `work` with a client that has just answered. If another user of the client has left a transaction open,
    /// `work` becomes part of it, or fails if it `begins` one. Fails also if what `work` has committed may be missing on a
    /// synchronous standby. The store's timeout limits only the wait for the client.
    /// The statements of `work` are cancelled at the deadline of the thread, if it has one.
    pub(super) fn lend_client<T>(
        &self,
        begins: bool,
        has_committed: fn(&T) -> bool,
        work: impl FnOnce(&mut Client) -> T,
    ) -> Result<T, Error> {
        let until = Deadline::current();
        let deadline = Deadline::within(self.timeout);
        let lend = || {
            let mut connection = deadline.scope(|| self.checkout_alive(&deadline))?;
            if begins && connection.had_transaction() {
                return Err(foreign_transaction());
            }
            match connection.lend(until.as_ref(), has_committed, work) {
                (_, true) => Err(not_replicated()),
                (done, false) => Ok(done),
            }
        };
        self.one(Method::Run, || blocking(lend))
    }

    fn attempts<T>(
        &self,
        deadline: &Deadline,
        work: &mut impl FnMut(&mut Connection<'_>) -> Result<T, StatementError>,
    ) -> Result<T, Error> {
        // The error of an attempt that may have been executed.
        let mut unanswered: Option<DatabaseError> = None;
        // The server process that the next attempt must terminate first.
        let mut busy_process: Option<ServerProcess> = None;
        // Only one call at a time closes connections to a standby, so that reads continue on the others.
        let mut leaving_standby: Option<MutexGuard<'_, ()>> = None;
        let mut attempt = 0;
        loop {
            pause_before(attempt, deadline);
            attempt += 1;
            let checked_out = match self.checkout(deadline) {
                Ok(checked_out) => checked_out,
                Err(error) => return Err(unanswered.map_or(error, Error::Disconnected)),
            };
            let mut connection = Connection::new(self, checked_out, deadline, unanswered.clone());
            let result = self.attempt(&mut connection, |connection| {
                if let Some(process) = &busy_process {
                    connection.terminate(process)?;
                }
                work(connection)
            });
            let (may_repeat, error) = match result {
                Ok(done) => return Ok(done),
                Err(FailedAttempt::Broken(cause)) => {
                    let error = self.broken_error(deadline, &cause);
                    let process = connection.busy_process();
                    match connection.effect() {
                        Effect::None => {}
                        Effect::Provable if process.is_some() => unanswered = Some(cause),
                        _ => return Err(Error::Disconnected(cause)),
                    }
                    busy_process = process.or(busy_process);
                    (self.source.replaces_closed(), error)
                }
                Err(FailedAttempt::Repeatable(error)) => (true, error),
                Err(FailedAttempt::OnStandby(error)) => {
                    leaving_standby = leaving_standby.or_else(|| try_lock(&self.leaving_standby));
                    if leaving_standby.is_some() {
                        connection.close();
                    }
                    (leaving_standby.is_some(), error)
                }
                Err(FailedAttempt::Final(error)) => (false, error),
            };
            if !may_repeat || deadline.has_passed() {
                // An earlier attempt may have been executed, even if this one was not.
                return Err(unanswered.map_or(error, Error::Disconnected));
            }
            self.counters.retry(attempt, &error);
        }
    }

    fn attempt<T>(
        &self,
        connection: &mut Connection<'_>,
        work: impl FnOnce(&mut Connection<'_>) -> Result<T, StatementError>,
    ) -> Result<T, FailedAttempt> {
        let result = match catch_unwind(AssertUnwindSafe(|| work(connection))) {
            Ok(result) => result,
            Err(panic) => {
                if !is_async_context(&*panic) {
                    connection.clean_up();
                }
                resume_unwind(panic)
            }
        };
        let result = match result {
            Ok(_) if connection.may_lack_replication() => {
                Err(FailedAttempt::Final(not_replicated()))
            }
            Ok(done) => Ok(done),
            Err(StatementError::Driver(error)) => Err(self.classify(&error, connection)),
            Err(StatementError::Unsent) => Err(FailedAttempt::Final(timed_out(
                connection.deadline(),
                UNSENT,
            ))),
            Err(StatementError::Final(error)) => Err(FailedAttempt::Final(error)),
        };
        connection.clean_up();
        result
    }
}

fn not_replicated() -> Error {
    Error::Disconnected(DatabaseError::new(NOT_REPLICATED))
}

/// Waits before an attempt, longer each time. The first two are not delayed, because the connection of the
/// first was most likely closed long before.
pub(super) fn pause_before(attempt: u32, deadline: &Deadline) {
    if attempt > 1 {
        let pause = Duration::from_millis(1 << attempt.min(8));
        thread::sleep(pause.min(MAX_PAUSE).min(deadline.remaining()));
    }
}
