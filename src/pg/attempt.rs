//! The funnel: every operation on the table goes through [`PostgresStore::run`], which lends it a
//! connection and tries again where that helps.

use std::{
    error::Error as _,
    io, thread,
    time::{Duration, Instant},
};

use postgres::error::{Severity, SqlState};

use super::{PostgresStore, connection::Connection, source::Lease};
use crate::{Error, error::DatabaseError};

/// How often an operation is tried again for a reason that should not come twice.
const MAX_REPEATS: u32 = 10;

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection may take to show that it is alive, or dead.
const PROBE: Duration = Duration::from_secs(5);

/// What a timeout comes to that is longer than the clock can count; the pool adds it to the time.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What to do about a failed try.
enum Verdict {
    /// The connection is gone; what was sent may have been carried out.
    Broken,
    /// Nothing was done, and the same may well succeed now.
    Repeat,
    /// Nothing was done, and nothing else is to be expected.
    Final,
}

impl PostgresStore {
    /// Lets `work` use a connection, and answers what it does.
    ///
    /// Where the connection breaks, `work` runs again on a fresh one, until the store's timeout has
    /// passed: it must come out right when an earlier run was carried out unseen, which
    /// [`Connection::interrupted`] tells it.
    pub(super) fn run<T>(
        &self,
        mut work: impl FnMut(&mut Connection<'_>) -> Result<T, postgres::Error>,
    ) -> Result<T, Error> {
        let deadline = Deadline::after(self.timeout);
        let mut interrupted = None;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut lease = match self.source.lease(deadline.left()) {
                Ok(lease) => lease,
                Err(timed_out) => return Err(interrupted.map_or(timed_out, Error::Disconnected)),
            };
            let mut connection = Connection::new(&mut *lease, self.prepares, interrupted.as_ref());
            let error = match work(&mut connection) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            match judge(&error, &mut *lease) {
                Verdict::Broken if self.source.renews() && !deadline.passed() => {
                    interrupted = Some(DatabaseError::from(&error));
                }
                Verdict::Broken => return Err(Error::Disconnected((&error).into())),
                Verdict::Repeat if tries < MAX_REPEATS && !deadline.passed() => {}
                Verdict::Repeat | Verdict::Final => return Err(self.explain(&error)),
            }
            drop(lease);
            deadline.pause(tries);
        }
    }

    /// A connection that has just answered.
    pub(super) fn lease_alive(&self) -> Result<Box<dyn Lease + '_>, Error> {
        let deadline = Deadline::after(self.timeout);
        loop {
            let mut lease = self.source.lease(deadline.left())?;
            match lease.client().is_valid(PROBE) {
                Ok(()) => return Ok(lease),
                Err(error) if !self.source.renews() || deadline.passed() => {
                    return Err(Error::Disconnected((&error).into()));
                }
                Err(_) => {}
            }
        }
    }

    fn explain(&self, error: &postgres::Error) -> Error {
        let source = DatabaseError::from(error);
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

fn judge(error: &postgres::Error, lease: &mut dyn Lease) -> Verdict {
    if let Some(server) = error.as_db_error() {
        let fatal = matches!(
            server.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic)
        );
        if fatal || server.code().code().starts_with("08") {
            // The client learns that its socket is closed only by using it, and the pool keeps it
            // until the client knows.
            let _ = lease.client().is_valid(PROBE);
            return Verdict::Broken;
        }
        return match *server.code() {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                Verdict::Repeat
            }
            // Somebody discarded the statement, or changed the table's columns under it.
            SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::FEATURE_NOT_SUPPORTED => {
                lease.forget_prepared();
                Verdict::Repeat
            }
            _ => Verdict::Final,
        };
    }
    let network = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        // The driver also says so of a message that is too large to be sent.
        .is_some_and(|e| e.kind() != io::ErrorKind::InvalidInput);
    if error.is_closed() || network || lease.client().is_closed() {
        Verdict::Broken
    } else {
        Verdict::Final
    }
}

/// When an operation gives up.
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    fn after(timeout: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(timeout))
    }

    fn left(&self) -> Duration {
        match self.0 {
            Some(end) => end.saturating_duration_since(Instant::now()),
            None => FOR_EVER,
        }
    }

    fn passed(&self) -> bool {
        self.left().is_zero()
    }

    /// Waits a little, longer with each try: not at all after the first, for then the connection
    /// had most likely been dead for long.
    fn pause(&self, tries: u32) {
        if tries > 1 {
            let pause = Duration::from_millis(1 << tries.min(6));
            thread::sleep(pause.min(MAX_PAUSE).min(self.left()));
        }
    }
}
