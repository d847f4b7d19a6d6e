//! One connection on loan, and the one way in which a statement goes to the server.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
    time::{Duration, Instant},
};

use postgres::{
    Client, Row, Statement,
    types::{ToSql, Type},
};
use postgres_connect::{CancelGuard, Cancelled};

use super::{
    PostgresStore,
    source::{Backend, Lease, OtherEnd},
    sql::Sql,
};
use crate::{Error, deadline::Deadline, error::DatabaseError};

/// Whether the driver's own parameter has come from it to this server process. A pooler, which has its own
/// connections to the server, sets it later or not at all. And which process this is.
const OTHER_END: &str = "SELECT source = 'client', pid, backend_start \
     FROM pg_catalog.pg_settings, pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) \
     WHERE name = 'client_encoding'";

/// Ends a server process. No rows, if there is none. Parameters: its number, and when it started.
const END: &str = "SELECT pg_catalog.pg_terminate_backend(pid) \
     FROM pg_catalog.pg_stat_get_activity($1) WHERE backend_start = $2";

/// Closes the connection from the server's side.
const LEAVE: &str = "ROLLBACK; SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())";

/// Waits for a cancel request that may still arrive.
const ABSORB: &str = "ROLLBACK; SELECT pg_catalog.pg_sleep(0.9)";

const IS_STANDBY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

const HAS_STANDBYS: &str = "SELECT current_setting('synchronous_standby_names') <> ''";

/// A connection that was idle for longer may have been closed meanwhile.
const FRESH: Duration = Duration::from_millis(500);

/// How often it is looked whether a server process has ended.
const ENDING: Duration = Duration::from_millis(2);

/// How long a connection that was idle has to answer.
const PROBE: Duration = Duration::from_secs(5);

/// The most statements that are kept prepared on a connection. Stores of any number of tables may share it.
const MAX_PREPARED: usize = 256;

/// Whether statements are prepared.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prepare {
    Always,
    Never,
    /// If there is no pooler between client and server.
    IfDirect,
}

/// The effect of a statement if the connection breaks before it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Nothing has changed that a caller can see. The statement may be sent again.
    None,
    /// The statement may have been carried out. The operation can find out, or make it good.
    Provable,
    /// The statement may have been carried out, and there is no way to find out.
    Unknown,
}

/// Why a statement has no answer.
pub(super) enum Failure {
    /// The time was up before it was sent.
    Late,
    Driver(postgres::Error),
    /// The operation gives up.
    Final(Error),
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Failure {
        Failure::Driver(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// A connection for the time of one attempt at an operation.
pub(super) struct Connection<'a> {
    store: &'a PostgresStore,
    lease: Box<dyn Lease + 'a>,
    deadline: &'a Deadline,
    interrupted: Option<DatabaseError>,
    /// The largest of the statements that were sent.
    effect: Effect,
    cancelled: Cancelled,
    /// Whether the server has answered on this loan.
    has_answered: bool,
    /// Whether a statement was used that an earlier operation had prepared.
    has_reused: bool,
    is_in_transaction: bool,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        store: &'a PostgresStore,
        lease: Box<dyn Lease + 'a>,
        deadline: &'a Deadline,
        interrupted: Option<DatabaseError>,
    ) -> Self {
        Connection {
            store,
            lease,
            deadline,
            interrupted,
            effect: Effect::None,
            cancelled: Cancelled::No,
            has_answered: false,
            has_reused: false,
            is_in_transaction: false,
        }
    }

    /// Why an earlier attempt at this operation ended without an answer, if the server may have carried it
    /// out.
    pub(super) fn interrupted(&self) -> Option<&DatabaseError> {
        self.interrupted.as_ref()
    }

    pub(super) fn deadline(&self) -> &'a Deadline {
        self.deadline
    }

    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    pub(super) fn is_closed(&mut self) -> bool {
        self.lease.client().is_closed()
    }

    /// Sends a statement and returns the rows. One round trip, if it is prepared.
    pub(super) fn query(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
        effect: Effect,
    ) -> Result<Vec<Row>, Failure> {
        let statement = self.prepared(sql)?;
        match effect {
            Effect::None => {}
            Effect::Provable => _ = self.other_end()?,
            Effect::Unknown => self.probe()?,
        }
        self.may_cancel()?;
        self.affects(effect)?;
        self.send(|client| match statement {
            Some(statement) => client.query(&statement, params),
            None => {
                let params = params.iter().copied();
                let typed: Vec<_> = params.zip(sql.types.iter().cloned()).collect();
                client.query_typed(&sql.text, &typed)
            }
        })
    }

    /// Sends texts without parameters, which are one transaction unless they say otherwise.
    pub(super) fn execute(&mut self, text: &str) -> Result<(), Failure> {
        self.send(|client| client.batch_execute(text))
    }

    /// Sends a question about the table, whose quoted name is its parameter.
    pub(super) fn ask(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        let table = self.store.table.to_string();
        self.send(|client| client.query_typed(sql, &[(&table, Type::TEXT)]))
    }

    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        self.other_end()?;
        self.is_in_transaction = true;
        self.execute("BEGIN")
    }

    /// Commits. If there is no answer, the operation finds out whether the transaction was committed.
    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        if self.deadline.has_passed() {
            return Err(Failure::Late);
        }
        self.affects(Effect::Provable)?;
        self.execute("COMMIT")?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// Takes note of what the statement that is sent next may do. Nothing is sent on a closed connection.
    fn affects(&mut self, effect: Effect) -> Result<(), Failure> {
        if self.is_closed() {
            self.ping()?;
        }
        self.effect = self.effect.max(effect);
        Ok(())
    }

    /// Lends the client to a caller, whose statements are cancelled at `until`.
    pub(super) fn lend<T>(
        &mut self,
        until: Option<&Deadline>,
        work: impl FnOnce(&mut Client) -> T,
    ) -> T {
        let guard = match until {
            Some(until) if self.may_cancel().unwrap_or(false) => Some(self.guard(until)),
            _ => None,
        };
        let done = catch_unwind(AssertUnwindSafe(|| work(self.lease.client())));
        if let Some(guard) = guard {
            self.cancelled = self.cancelled.max(guard.end());
        }
        // A transaction that is open after a panic is not what the caller wanted.
        self.is_in_transaction |= done.is_err();
        self.clean();
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Makes a round trip, for which the server has five seconds.
    pub(super) fn ping(&mut self) -> Result<(), Failure> {
        let limit = Deadline::within(PROBE);
        limit.scope(|| self.execute(""))
    }

    /// Sends a statement by `send`, and has it cancelled at the deadline.
    fn send<T>(
        &mut self,
        send: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, Failure> {
        if self.deadline.has_passed() {
            return Err(Failure::Late);
        }
        let guard = self.may_cancel()?.then(|| self.guard(self.deadline));
        let done = send(self.lease.client());
        self.has_answered |= done.is_ok();
        if let Some(guard) = guard {
            self.cancelled = self.cancelled.max(guard.end());
        }
        Ok(done?)
    }

    fn guard<'g>(&mut self, deadline: &'g Deadline) -> CancelGuard<'g>
    where
        'a: 'g,
    {
        let token = self.lease.client().cancel_token();
        self.store.canceller.guard(token, deadline)
    }

    /// The statement as the server knows it, or none if it is sent with its text.
    fn prepared(&mut self, sql: &Sql) -> Result<Option<Statement>, Failure> {
        let prepares = match self.store.prepare {
            Prepare::Always => true,
            Prepare::Never => false,
            Prepare::IfDirect => matches!(self.other_end()?, OtherEnd::Server(_)),
        };
        if !prepares {
            return Ok(None);
        }
        if let Some(statement) = self.lease.known().prepared.get(&sql.text) {
            self.has_reused = true;
            return Ok(Some(statement.clone()));
        }
        let statement = self.send(|client| client.prepare_typed(&sql.text, sql.types))?;
        let known = self.lease.known();
        if known.prepared.len() >= MAX_PREPARED {
            known.prepared.clear();
        }
        known.prepared.insert(sql.text.clone(), statement.clone());
        Ok(Some(statement))
    }

    /// Forgets the statements that were prepared, if the server no longer has them as they were. Returns
    /// whether the operation may succeed with new ones.
    pub(super) fn forget_prepared(&mut self) -> bool {
        self.lease.known().prepared.clear();
        std::mem::take(&mut self.has_reused)
    }

    /// Shows that a connection that was idle is alive, so that what is sent next is not lost.
    fn probe(&mut self) -> Result<(), Failure> {
        let last_used = self.lease.known().last_used;
        let is_fresh = |used: Instant| used.elapsed() < FRESH && !self.store.has_broken_since(used);
        if self.has_answered || last_used.is_some_and(is_fresh) {
            return Ok(());
        }
        self.ping()
    }

    /// Returns what is at the other end. The first use of a connection asks the server.
    fn other_end(&mut self) -> Result<OtherEnd, Failure> {
        if let Some(end) = self.lease.known().end {
            return Ok(end);
        }
        let rows = self.lease.client().query_typed(OTHER_END, &[])?;
        self.has_answered = true;
        let end = match rows.first() {
            Some(row) if row.try_get(0)? => {
                let (pid, started) = (row.try_get(1)?, row.try_get::<_, Option<_>>(2)?);
                OtherEnd::Server(started.map(|started| Backend { pid, started }))
            }
            _ => OtherEnd::Pooler,
        };
        self.lease.known().end = Some(end);
        Ok(end)
    }

    /// The server process that a later attempt has to end, because it may hold a lock or carry out a statement.
    /// It is unknown if a pooler may change it.
    pub(super) fn backend(&mut self) -> Option<Backend> {
        if self.effect == Effect::None && !self.is_in_transaction {
            return None;
        }
        match self.lease.known().end {
            Some(OtherEnd::Server(backend)) => backend,
            _ => None,
        }
    }

    /// Ends the server process of an earlier attempt, and waits until it has ended, so that it carries out
    /// nothing any more.
    pub(super) fn end(&mut self, backend: &Backend) -> Result<(), Failure> {
        let params: [(&(dyn ToSql + Sync), Type); 2] = [
            (&backend.pid, Type::INT4),
            (&backend.started, Type::TIMESTAMPTZ),
        ];
        while !self
            .send(|client| client.query_typed(END, &params))?
            .is_empty()
        {
            thread::sleep(ENDING);
        }
        Ok(())
    }

    /// Whether the other end survives a cancel request. PgBouncer 1.18 does not if the driver sends it,
    /// because the driver closes the connection at once (pgbouncer#801).
    fn may_cancel(&mut self) -> Result<bool, Failure> {
        Ok(self.store.canceller.waits_for_server()
            || matches!(self.other_end()?, OtherEnd::Server(_)))
    }

    pub(super) fn is_standby(&mut self) -> bool {
        let rows = self.send(|client| client.query_typed(IS_STANDBY, &[]));
        matches!(rows.map(|rows| first(&rows)), Ok(Ok(Some(true))))
    }

    /// Whether a cancel request may have ended the wait of a commit for a standby, and not the commit.
    pub(super) fn may_be_here_only(&mut self) -> bool {
        if self.cancelled == Cancelled::No || self.effect == Effect::None {
            return false;
        }
        let rows = self.lease.client().query_typed(HAS_STANDBYS, &[]);
        !matches!(rows.map(|rows| first(&rows)), Ok(Ok(Some(false))))
    }

    /// Lets the client learn that its connection is closed, if it is. The pool keeps it until then.
    pub(super) fn notice_end(&mut self) {
        let _ = self.lease.client().batch_execute("");
    }

    /// Makes the connection good for the next operation: no transaction is open, and no cancel request is on
    /// its way. If that cannot be known, closes it.
    pub(super) fn clean(&mut self) {
        let has_pending = self.cancelled == Cancelled::Pending;
        if has_pending && self.store.source.renews() {
            self.leave();
        }
        // A role may be forbidden to leave.
        if !self.is_closed() && (self.is_in_transaction || self.cancelled != Cancelled::No) {
            if has_pending {
                let _ = self.lease.client().batch_execute(ABSORB);
            }
            // A cancel request that has arrived ends the first.
            let again = self.lease.client().batch_execute("ROLLBACK").is_err();
            if again && !self.is_closed() {
                let _ = self.lease.client().batch_execute("ROLLBACK");
            }
        }
        self.lease.known().last_used = Some(Instant::now());
    }

    /// Closes the connection, so that the pool replaces it.
    pub(super) fn leave(&mut self) {
        // A cancel request that arrives ends the first.
        for _ in 0..2 {
            if !self.is_closed() {
                let _ = self.lease.client().batch_execute(LEAVE);
                self.notice_end();
            }
        }
    }
}

/// The only column of the first row.
fn first(rows: &[Row]) -> Result<Option<bool>, postgres::Error> {
    rows.first().map(|row| row.try_get(0)).transpose()
}
