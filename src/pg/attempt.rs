//! The funnel: every operation on the table goes through [`PostgresStore::run`], which lends it a
//! connection and tries again where that helps.

use std::{
    error::Error as _,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
    time::{Duration, Instant},
};

use postgres::{
    Client,
    error::{Severity, SqlState},
};

use super::{
    PostgresStore,
    connection::{self, Connection},
    source::Lease,
    watch::{self, Ended},
};
use crate::{Error, deadline, error::DatabaseError};

/// How often an operation is tried again for a reason that should not come twice.
const MAX_REPEATS: u32 = 10;

/// Ends one's own connection.
const LEAVE: &str = "SELECT pg_terminate_backend(pg_backend_pid())";

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_millis(50);

const HAS_STANDBYS: &str = "SELECT current_setting('synchronous_standby_names') <> ''";

/// Of a write that has come through though it was cancelled.
const LATE: &str = "it was done when its time was up, and perhaps on this server only";

/// What a server says that has ended a session for doing nothing: it has not read what was sent since.
const IDLE: [&str; 2] = ["57P05", "25P03"];

/// How long a cancelling may take of what was sent on a connection that has broken.
const ABANDONING: Duration = Duration::from_secs(1);

/// How long a connection may take to show that it is alive, or dead, or to be made good again.
const PROBE: Duration = Duration::from_secs(5);

/// How long after its deadline, and so after the first cancelling, a server has to say that it is done.
const GRACE: Duration = Duration::from_secs(1);

/// What to do about a failed try.
enum Verdict {
    /// The connection is gone, and what was sent may have been carried out.
    Broken,
    /// The connection is gone, and what was sent was not carried out.
    Gone,
    /// What was sent was not carried out, for others were in the way: the same succeeds in the end.
    Conflict,
    /// What was sent was not carried out, and the same may well succeed now.
    Repeat,
    /// The server takes no writes; another one may.
    ReadOnly,
    /// What was sent was not carried out, and nothing else is to be expected.
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
        let mut read_only = 0;
        loop {
            tries += 1;
            let mut lease = match self.lease(&deadline) {
                Ok(lease) => lease,
                Err(timed_out) => return Err(interrupted.map_or(timed_out, Error::Disconnected)),
            };
            let (outcome, ended) = self.watched(&mut *lease, deadline.end, is_cancelled, |lease| {
                let interrupted = interrupted.as_ref();
                work(&mut Connection::new(lease, self.prepare, interrupted))
            });
            let cancelled = ended.cancels > 0 && is_cancelled(&outcome);
            let error = match outcome {
                // Where a commit waits for a standby, cancelling ends the wait and not the commit.
                Ok(_) if ended.cancels > 0 && has_standbys(lease.client()) => {
                    return Err(Error::Disconnected(DatabaseError::new(LATE)));
                }
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let verdict = judge(&error, &mut *lease);
            let again = match verdict {
                Verdict::Broken | Verdict::Gone => self.source.renews(),
                Verdict::Conflict => true,
                Verdict::Repeat => tries < MAX_REPEATS,
                Verdict::ReadOnly if self.source.renews() => {
                    soon(|| leave(lease.client()));
                    read_only += 1;
                    // Of those that are there already, all may lead to the same server.
                    read_only <= self.source.connections().get() + 1
                }
                Verdict::ReadOnly | Verdict::Final => false,
            };
            if matches!(verdict, Verdict::Broken) {
                interrupted = Some(DatabaseError::from(&error));
                // The server may be at it still, and must not come through with it after what is sent
                // next. One that has said why it ends is not.
                if let Some(token) = ended.token.filter(|_| error.as_db_error().is_none()) {
                    self.watch.cancel(token, deadline.left().min(ABANDONING));
                }
            }
            if !again || deadline.passed() {
                // Whatever this try came to, an earlier one may have been carried out.
                return Err(match (interrupted, verdict) {
                    (Some(cause), _) => Error::Disconnected(cause),
                    (None, Verdict::Gone) => Error::Disconnected((&error).into()),
                    (None, _) if cancelled => deadline
                        .timed_out("what it asked of the server took too long, and was cancelled"),
                    (None, _) => self.explain(&error),
                });
            }
            drop(lease);
            deadline.pause(tries);
        }
    }

    /// Lends `work` a connection that has just answered. What it does is cancelled where it runs past
    /// the deadline of the work that it is part of, and else takes as long as it takes.
    pub(super) fn lend<T>(&self, work: impl FnOnce(&mut Client) -> T) -> Result<T, Error> {
        let mut lease = self.lease_alive()?;
        let Some(end) = deadline::CALL.current() else {
            return Ok(work(lease.client()));
        };
        let work = |lease: &mut dyn Lease| work(lease.client());
        Ok(self.watched(&mut *lease, end, |_| false, work).0)
    }

    /// Does `work` on a connection, and has it cancelled when it is due. However it ends, the connection
    /// is as good as before. `is_hit` tells whether `work` ended in that.
    fn watched<T>(
        &self,
        lease: &mut dyn Lease,
        due: Instant,
        is_hit: impl FnOnce(&T) -> bool,
        work: impl FnOnce(&mut dyn Lease) -> T,
    ) -> (T, Ended) {
        let may_cancel = self.may_cancel(lease);
        let cancelled_at = if may_cancel { due } else { deadline::never() };
        let watched = self.watch.begin(lease.client(), cancelled_at);
        let work = || deadline::SILENCE.within(due + GRACE, || work(lease));
        let done = catch_unwind(AssertUnwindSafe(work));
        let mut ended = watched.end(lease.client().is_closed());
        ended.token = ended.token.filter(|_| may_cancel);
        let is_hit = done.as_ref().is_ok_and(is_hit);
        soon(|| {
            if ended.is_late {
                leave(lease.client());
            } else {
                watch::clean(lease.client(), ended.cancels, is_hit);
            }
        });
        match done {
            Ok(done) => (done, ended),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Whether whoever is at the other end survives it that what it does is cancelled: PgBouncer 1.18
    /// does not, where the driver sends the request in its own way and hangs up at once (pgbouncer#801).
    fn may_cancel(&self, lease: &mut dyn Lease) -> bool {
        if self.watch.cancels_patiently() {
            return true;
        }
        soon(|| connection::is_direct(lease)).unwrap_or(false)
    }

    fn lease_alive(&self) -> Result<Box<dyn Lease + '_>, Error> {
        let deadline = Deadline::after(self.timeout);
        loop {
            let mut lease = self.lease(&deadline)?;
            match lease.client().is_valid(PROBE.min(deadline.left())) {
                Ok(()) => return Ok(lease),
                Err(error) if !self.source.renews() || deadline.passed() => {
                    return Err(Error::Disconnected((&error).into()));
                }
                Err(_) => {}
            }
        }
    }

    fn lease(&self, deadline: &Deadline) -> Result<Box<dyn Lease + '_>, Error> {
        if deadline.passed() {
            return Err(deadline.timed_out("the time was up before anything was sent"));
        }
        self.source
            .lease(deadline.left().min(self.checkout_timeout))
            .map_err(|reason| deadline.timed_out(reason))
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

fn is_cancelled<T>(outcome: &Result<T, postgres::Error>) -> bool {
    let error = outcome.as_ref().err();
    error.and_then(postgres::Error::code) == Some(&SqlState::QUERY_CANCELED)
}

/// Does a little work on a connection after an operation, which the server has to answer soon.
fn soon<T>(work: impl FnOnce() -> T) -> T {
    deadline::SILENCE.within(deadline::after(PROBE), work)
}

/// Ends the connection, which its pool then replaces.
fn leave(client: &mut Client) {
    let _ = client.batch_execute(LEAVE);
    let _ = client.is_valid(PROBE);
}

/// Whether commits wait for standbys, as far as is known.
fn has_standbys(client: &mut Client) -> bool {
    let rows = soon(|| client.query_typed(HAS_STANDBYS, &[]));
    let answer = rows.and_then(|rows| rows.first().map_or(Ok(true), |row| row.try_get(0)));
    answer.unwrap_or(true)
}

fn judge(error: &postgres::Error, lease: &mut dyn Lease) -> Verdict {
    if let Some(server) = error.as_db_error() {
        let fatal = matches!(
            server.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic)
        );
        if fatal || server.code().code().starts_with("08") {
            // The client learns that its socket is closed only by using it, and the pool keeps it
            // until the client knows. The driver tells this news before the answer to a statement,
            // where both are there.
            let _ = lease.client().is_valid(PROBE);
            return match IDLE.contains(&server.code().code()) {
                true => Verdict::Gone,
                false => Verdict::Broken,
            };
        }
        return match *server.code() {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                Verdict::Conflict
            }
            SqlState::READ_ONLY_SQL_TRANSACTION => Verdict::ReadOnly,
            // Somebody discarded the statement, or changed the table's columns under it.
            SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::FEATURE_NOT_SUPPORTED => {
                lease.learn(&mut |known| known.prepared.clear());
                Verdict::Repeat
            }
            _ => Verdict::Final,
        };
    }
    let network = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    match network {
        // The driver says so of a message that is too large to be sent.
        Some(io::ErrorKind::InvalidInput) => Verdict::Final,
        // What could not be written to the end was not carried out.
        Some(io::ErrorKind::BrokenPipe) => Verdict::Gone,
        Some(_) => Verdict::Broken,
        None if error.is_closed() || lease.client().is_closed() => Verdict::Broken,
        None => Verdict::Final,
    }
}

/// When an operation gives up.
struct Deadline {
    begun: Instant,
    end: Instant,
}

impl Deadline {
    /// After so much time, or with the work that the operation is part of.
    fn after(timeout: Duration) -> Deadline {
        let end = deadline::after(timeout);
        Deadline {
            begun: Instant::now(),
            end: deadline::CALL.current().map_or(end, |outer| outer.min(end)),
        }
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    fn passed(&self) -> bool {
        self.left().is_zero()
    }

    fn timed_out(&self, reason: impl Into<String>) -> Error {
        Error::TimedOut {
            waited: self.begun.elapsed(),
            reason: reason.into(),
        }
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
