//! Waiting for a connection.

use std::time::Duration;

use super::{
    PostgresStore,
    connection::{Connection, StatementError},
    connection_source::CheckedOut,
    failure::{UNSENT, timed_out},
    mutex::lock,
    operation::pause_before,
};
use crate::{Error, deadline::Deadline, error::DatabaseError};

/// The longest wait for the pool before the last error of a connection attempt is read.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// A call with less time left is not sent, because the server would have to cancel it at once.
const MIN_REMAINING: Duration = Duration::from_millis(1);

impl PostgresStore {
    /// Waits for a connection. If there is none in time, the error says why the last one could not be opened.
    pub(super) fn checkout(&self, deadline: &Deadline) -> Result<Box<dyn CheckedOut + '_>, Error> {
        let until = Deadline::within(self.checkout_timeout);
        if deadline.remaining() < MIN_REMAINING {
            return Err(timed_out(deadline, UNSENT));
        }
        loop {
            // A pool reports its last error to one waiter only, so every waiter asks before its time is up.
            let wait = (until.remaining() / 2).clamp(MIN_REMAINING, MAX_WAIT);
            match self.source.checkout(wait) {
                Ok(checked_out) => {
                    *lock(&self.last_connect_error) = None;
                    return Ok(checked_out);
                }
                Err(Some(cause)) => {
                    if self.source.replaces_closed() {
                        self.counters.connect_failure(&cause);
                    }
                    *lock(&self.last_connect_error) = Some(cause);
                }
                Err(None) => {}
            }
            if until.has_passed() || deadline.remaining() < MIN_REMAINING {
                break;
            }
        }
        let cause = lock(&self.last_connect_error).clone();
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        Err(timed_out(
            deadline,
            format!("no connection was free{cause}"),
        ))
    }

    /// Waits for a connection that answers, and on which no aborted transaction is open.
    pub(super) fn checkout_alive<'a>(
        &'a self,
        deadline: &'a Deadline,
    ) -> Result<Connection<'a>, Error> {
        let mut attempt = 0;
        loop {
            pause_before(attempt, deadline);
            attempt += 1;
            let mut connection = Connection::new(self, self.checkout(deadline)?, deadline, None);
            let error = match connection.ping_and_look() {
                Ok(()) => return Ok(connection),
                Err(StatementError::Driver(error)) => {
                    let cause = DatabaseError::from(&error);
                    self.note_broken(&cause);
                    self.broken_error(deadline, &cause)
                }
                Err(StatementError::Unsent) => timed_out(deadline, UNSENT),
                Err(StatementError::Final(error)) => error,
            };
            connection.clean_up();
            if !self.source.replaces_closed() || deadline.has_passed() {
                return Err(error);
            }
            self.counters.retry(attempt, &error);
        }
    }
}
