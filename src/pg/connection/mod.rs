//! A connection during one attempt at an operation.
//!
//! Every statement of the store is sent here. [`Connection::query`] prepares it ([`prepared`]), finds out if
//! needed whether a pooler is in between ([`peer`]), and sends it. A statement is cancelled at the deadline.
//! [`cleanup`] makes the connection fit for the next operation.

mod cleanup;
mod peer;
mod prepared;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use postgres::{
    Client, Row, SimpleQueryMessage, Statement,
    error::SqlState,
    types::{ToSql, Type},
};
use postgres_connect::{CancelGuard, Cancelled};

pub(super) use self::prepared::PreparePolicy;
use super::{PostgresStore, connection_source::CheckedOut, statements::Sql};
use crate::{Error, deadline::Deadline, error::DatabaseError};

/// A connection that was idle for longer may have been closed by the server or the network.
const MAX_IDLE_UNTESTED: Duration = Duration::from_millis(500);

/// The time limit of a test whether a connection is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The reason why a connection that was lent has broken. The program has the error.
const CLOSED_DURING_WORK: &str = "it was closed while the program used it";

/// Returns whether this statement, or the `BEGIN` sent together with it, has begun the transaction.
const IS_NEW: &str =
    "SELECT pg_catalog.now() OPERATOR(pg_catalog.=) pg_catalog.statement_timestamp()";

/// A connection during one attempt at an operation.
pub(super) struct Connection<'a> {
    store: &'a PostgresStore,
    checked_out: Box<dyn CheckedOut + 'a>,
    /// Dropped after the connection was returned.
    _returned: Returned<'a>,
    deadline: &'a Deadline,
    unanswered: Option<DatabaseError>,
    /// The largest effect of the statements that were sent.
    effect: Effect,
    cancelled: Cancelled,
    /// Whether the server has answered since checkout.
    has_answered: bool,
    /// Whether a statement was used that an earlier operation had prepared.
    has_reused: bool,
    is_in_transaction: bool,
    /// Whether another user of the connection had left a transaction open before the client was lent.
    had_transaction: bool,
}

/// The possible effect of a statement if the connection breaks before the server answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Nothing that a caller can see. The operation can be attempted again.
    None,
    /// It may have been executed. The next attempt can find out, or complete the operation in either case.
    Provable,
    /// It may have been executed, and the operation cannot find out.
    Unknown,
}

/// Why a statement has no result.
pub(super) enum StatementError {
    /// The deadline had passed before it was sent.
    Unsent,
    /// The driver or the server reported an error.
    Driver(postgres::Error),
    /// An error that ends the operation without another attempt.
    Final(Error),
}

impl From<postgres::Error> for StatementError {
    fn from(error: postgres::Error) -> StatementError {
        StatementError::Driver(error)
    }
}

impl From<Error> for StatementError {
    fn from(error: Error) -> StatementError {
        StatementError::Final(error)
    }
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        store: &'a PostgresStore,
        mut checked_out: Box<dyn CheckedOut + 'a>,
        deadline: &'a Deadline,
        unanswered: Option<DatabaseError>,
    ) -> Self {
        if checked_out.facts().last_used.is_none() {
            store.counters.new_connection();
        }
        store.counters.connections(&*store.source);
        Connection {
            store,
            checked_out,
            _returned: Returned(store),
            deadline,
            unanswered,
            effect: Effect::None,
            cancelled: Cancelled::No,
            has_answered: false,
            has_reused: false,
            is_in_transaction: false,
            had_transaction: false,
        }
    }

    /// Sends a statement and returns its rows. This is one round trip if the statement is prepared.
    pub(super) fn query(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
        effect: Effect,
    ) -> Result<Vec<Row>, StatementError> {
        let statement = self.ready(sql, effect)?;
        self.send(|client| match statement {
            Some(statement) => client.query(&statement, params),
            None => client.query_typed(&sql.text, &typed(sql, params)),
        })
    }

    /// Sends a statement that returns no rows, and returns how many it has changed. This costs less than rows.
    pub(super) fn count(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
        effect: Effect,
    ) -> Result<u64, StatementError> {
        let statement = self.ready(sql, effect)?;
        self.send(|client| match statement {
            Some(statement) => client.execute(&statement, params),
            None => client.execute_typed(&sql.text, &typed(sql, params)),
        })
    }

    /// Prepares a statement if needed, and the connection for its effect.
    fn ready(&mut self, sql: &Sql, effect: Effect) -> Result<Option<Statement>, StatementError> {
        let statement = self.prepared(sql)?;
        match effect {
            Effect::None => {}
            Effect::Provable => _ = self.peer()?,
            Effect::Unknown => self.ping_if_idle()?,
        }
        self.may_cancel()?;
        self.add_effect(effect)?;
        Ok(statement)
    }

    /// Sends statements without parameters. They are one transaction unless they contain `COMMIT` or `ROLLBACK`.
    pub(super) fn execute(&mut self, text: &str) -> Result<(), StatementError> {
        self.send(|client| client.batch_execute(text))
    }

    /// Sends a query on the system catalog. Its parameter is the quoted name of the sessions table.
    pub(super) fn query_catalog(&mut self, sql: &str) -> Result<Vec<Row>, StatementError> {
        let table = self.store.names.table.to_string();
        self.query_once(sql, &[(&table, Type::TEXT)])
    }

    /// Sends a statement that is not prepared, because it is rarely sent.
    pub(super) fn query_once(
        &mut self,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, StatementError> {
        self.send(|client| client.query_typed(sql, params))
    }

    /// Sends a query on the system catalog that returns one boolean.
    pub(super) fn catalog_says(&mut self, sql: &str) -> Result<bool, StatementError> {
        let rows = self.query_catalog(sql)?;
        Ok(rows.first().map_or(Ok(false), |row| row.try_get(0))?)
    }

    /// Begins a transaction. Fails if one is open, which is then not changed.
    pub(super) fn begin(&mut self) -> Result<(), StatementError> {
        self.peer()?;
        let began = self.send(|client| client.simple_query(&format!("BEGIN; {IS_NEW}")))?;
        if !is_true(&began) {
            return Err(foreign_transaction().into());
        }
        self.is_in_transaction = true;
        Ok(())
    }

    /// Notes that a transaction is open which the store has not begun, so that it is rolled back.
    pub(super) fn must_roll_back(&mut self) {
        self.is_in_transaction = true;
    }

    /// Commits. If the server does not answer, the next attempt must find out whether it has committed.
    pub(super) fn commit(&mut self) -> Result<(), StatementError> {
        if self.deadline.has_passed() {
            return Err(StatementError::Unsent);
        }
        self.add_effect(Effect::Provable)?;
        self.execute("COMMIT")?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// Lends the client to `work`. Its statements are cancelled at `until`. Returns also whether what `work` has
    /// committed, according to `has_committed`, may be missing on a synchronous standby.
    pub(super) fn lend<T>(
        &mut self,
        until: Option<&Deadline>,
        has_committed: fn(&T) -> bool,
        work: impl FnOnce(&mut Client) -> T,
    ) -> (T, bool) {
        let guard = match until {
            Some(until) if self.may_cancel().unwrap_or(false) => Some(self.guard(until)),
            _ => None,
        };
        let done = catch_unwind(AssertUnwindSafe(|| work(self.checked_out.client())));
        self.end(guard);
        let has_committed = done.as_ref().is_ok_and(has_committed);
        if has_committed {
            self.effect = Effect::Unknown;
        }
        let may_lack_replication = self.may_lack_replication();
        if !self.had_transaction && !has_committed {
            // After a panic, or if the server does not say, `work` may have left one open.
            self.is_in_transaction = !matches!(self.find_transaction(), Ok(false));
        }
        if self.is_closed() {
            self.store
                .note_broken(&DatabaseError::new(CLOSED_DURING_WORK));
        }
        self.clean_up();
        match done {
            Ok(done) => (done, may_lack_replication),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Tests whether the connection is alive, like [`ping`](Self::ping), and finds out whether another user of it has
    /// left a transaction open. A transaction that was aborted by an error is rolled back.
    pub(super) fn ping_and_look(&mut self) -> Result<(), StatementError> {
        self.had_transaction = match self.find_transaction() {
            Err(StatementError::Driver(e))
                if e.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) =>
            {
                self.checked_out.client().batch_execute("ROLLBACK")?;
                false
            }
            found => found?,
        };
        Ok(())
    }

    /// Whether another user of the connection has left a transaction open.
    pub(super) fn had_transaction(&self) -> bool {
        self.had_transaction
    }

    /// Returns whether a transaction is open.
    fn find_transaction(&mut self) -> Result<bool, StatementError> {
        let limit = Deadline::within(PING_TIMEOUT);
        let client = self.checked_out.client();
        let is_new = limit.scope(|| client.simple_query(IS_NEW))?;
        Ok(!is_true(&is_new))
    }

    /// Makes a round trip. On TCP connections that the store has opened, it has a time limit of five seconds.
    pub(super) fn ping(&mut self) -> Result<(), StatementError> {
        let limit = Deadline::within(PING_TIMEOUT);
        limit.scope(|| self.execute(""))
    }

    /// The error of an earlier attempt at this operation that may have been executed.
    pub(super) fn unanswered(&self) -> Option<&DatabaseError> {
        self.unanswered.as_ref()
    }

    pub(super) fn deadline(&self) -> &'a Deadline {
        self.deadline
    }

    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    pub(super) fn is_closed(&mut self) -> bool {
        self.checked_out.client().is_closed()
    }

    /// Tests a connection that was idle, so that the next statement is not lost.
    fn ping_if_idle(&mut self) -> Result<(), StatementError> {
        let last_used = self.checked_out.facts().last_used;
        let is_fresh = |used: Instant| {
            used.elapsed() < MAX_IDLE_UNTESTED && !self.store.has_broken_since(used)
        };
        if self.has_answered || last_used.is_some_and(is_fresh) {
            return Ok(());
        }
        self.ping()
    }

    /// Records the effect of the next statement. If the connection is closed, fails, and records nothing.
    fn add_effect(&mut self, effect: Effect) -> Result<(), StatementError> {
        if self.is_closed() {
            self.ping()?;
        }
        self.effect = self.effect.max(effect);
        Ok(())
    }

    /// Executes `send`. Its statement is cancelled at the deadline.
    fn send<T>(
        &mut self,
        send: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, StatementError> {
        if self.deadline.has_passed() {
            return Err(StatementError::Unsent);
        }
        let guard = self.may_cancel()?.then(|| self.guard(self.deadline));
        let sent = Instant::now();
        let done = send(self.checked_out.client());
        let took = sent.elapsed();
        self.has_answered |= done.is_ok();
        self.end(guard);
        self.store.counters.statement(took);
        Ok(done?)
    }

    fn end(&mut self, guard: Option<CancelGuard<'_>>) {
        let cancelled = guard.map_or(Cancelled::No, CancelGuard::end);
        if cancelled != Cancelled::No {
            self.store.counters.cancelled_statement();
        }
        self.cancelled = self.cancelled.max(cancelled);
    }

    fn guard<'g>(&mut self, deadline: &'g Deadline) -> CancelGuard<'g>
    where
        'a: 'g,
    {
        let token = self.checked_out.client().cancel_token();
        self.store.canceller.guard(token, deadline)
    }
}

struct Returned<'a>(&'a PostgresStore);

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.0.counters.connections(&*self.0.source);
    }
}

/// The parameters of a statement that is not prepared, with their types.
fn typed<'p>(sql: &Sql, params: &[&'p (dyn ToSql + Sync)]) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
    let params = params.iter().copied();
    params.zip(sql.types.iter().cloned()).collect()
}

/// The error if another user of the connection has left a transaction open.
pub(super) fn foreign_transaction() -> Error {
    Error::Database(DatabaseError::new(
        "a transaction is open on the connection that the store has not begun, so it cannot begin one: end the \
         transaction before you give the connection to the store or back to the pool",
    ))
}

/// Whether a query has returned true.
fn is_true(answer: &[SimpleQueryMessage]) -> bool {
    let rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    rows.eq(["t"])
}
