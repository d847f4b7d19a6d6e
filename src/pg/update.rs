//! `update`: read, edit and write a session in one transaction.

use std::{thread, time::Duration};

use postgres::{Row, error::SqlState, types::ToSql};

use super::{
    PostgresStore,
    connection::{Connection, Effect, StatementError},
    params::CheckedCall,
    row::{self, SessionRow, Timestamp},
    secret::Secret,
};
use crate::{Error, Session, session::check_value};

/// The pause between two queries for the status of a transaction that is in progress.
const STATUS_INTERVAL: Duration = Duration::from_millis(10);

/// A transaction whose commit was sent, and what it has written.
struct SentCommit {
    transaction: i64,
    expires: Timestamp,
    session: Session,
}

/// The outcome of a transaction whose commit was not answered.
enum TransactionOutcome {
    Committed,
    Aborted,
    Unknown,
}

impl PostgresStore {
    /// Executes `edit` while the row of `call` is locked. A new value gets the period of `call`.
    ///
    /// This takes four round trips: begin, lock and read, write, commit. If the commit is not answered, the next
    /// attempt asks the server for the outcome of the transaction, so that nothing is written twice.
    pub(super) fn update_locked(
        &self,
        call: &CheckedCall<'_>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        let key = Secret::of(call.key);
        let mut sent: Option<SentCommit> = None;
        self.with_connection(|connection| {
            if let (Some(sent), Some(cause)) = (&sent, connection.unanswered().cloned()) {
                match self.outcome(connection, &key, sent)? {
                    TransactionOutcome::Committed => return Ok(Ok(sent.session.clone())),
                    TransactionOutcome::Aborted => {}
                    TransactionOutcome::Unknown => return Ok(Err(Error::Disconnected(cause))),
                }
            }
            connection.begin()?;
            let rows = connection.query(&self.sql.lock, &[&key], Effect::None)?;
            let Some(found) = SessionRow::read_longest(&rows)? else {
                return Ok(Err(Error::NotFound));
            };
            let Some(value) = edit(found.value()) else {
                return Ok(found.into_session());
            };
            if let Err(invalid) = check_value(&value) {
                return Ok(Err(invalid));
            }
            let value_param = Some(Secret(&value));
            let params: [&(dyn ToSql + Sync); 3] = [&key, &call.micros, &value_param];
            let written = connection.query(&self.sql.set_locked, &params, Effect::None)?;
            let (Some(locked), Some(written)) = (rows.first(), written.first()) else {
                return Ok(Err(Error::NotFound));
            };
            let transaction = locked.try_get(4)?;
            let expires = written.try_get(3)?;
            let session = written_session(written, &found)?;
            sent = Some(SentCommit {
                transaction,
                expires,
                session: session.clone(),
            });
            connection.commit()?;
            Ok(Ok(session))
        })?
    }

    /// Returns the outcome of a transaction, as far as this server knows it.
    ///
    /// A commit is proven by the row and not by the number of the transaction, because after a failover another
    /// transaction may have that number. If the server has not committed a transaction of this number, this one
    /// was not committed either.
    fn outcome(
        &self,
        connection: &mut Connection<'_>,
        key: &Secret<'_>,
        sent: &SentCommit,
    ) -> Result<TransactionOutcome, StatementError> {
        while self.is_in_progress(connection, sent)? {
            thread::sleep(STATUS_INTERVAL.min(connection.deadline().remaining()));
        }
        let rows = connection.query(&self.sql.stored, &[key], Effect::None)?;
        if rows.iter().any(|row| is_from(row, sent)) {
            return Ok(TransactionOutcome::Committed);
        }
        Ok(match self.status(connection, sent)?.as_deref() {
            Some("aborted") => TransactionOutcome::Aborted,
            _ => TransactionOutcome::Unknown,
        })
    }

    fn is_in_progress(
        &self,
        connection: &mut Connection<'_>,
        sent: &SentCommit,
    ) -> Result<bool, StatementError> {
        Ok(self.status(connection, sent)?.as_deref() == Some("in progress"))
    }

    fn status(
        &self,
        connection: &mut Connection<'_>,
        sent: &SentCommit,
    ) -> Result<Option<String>, StatementError> {
        let sql = &self.sql.transaction_status;
        match connection.query(sql, &[&sent.transaction], Effect::None) {
            // No transaction has had this number yet: a crash has undone this one, or the commit has not reached
            // the server that has taken over.
            Err(StatementError::Driver(e))
                if e.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) =>
            {
                Ok(Some("aborted".to_owned()))
            }
            rows => Ok(rows?
                .first()
                .map(|row| row.try_get(0))
                .transpose()?
                .flatten()),
        }
    }
}

/// Returns the session that [`SET_LOCKED`](super::sql::SET_LOCKED) has written. It may have expired by now.
pub(super) fn written_session(row: &Row, before: &SessionRow) -> Result<Session, postgres::Error> {
    Ok(Session {
        value: row.try_get(0)?,
        period: row::remaining(row, 1, 2)?,
        age: before.age(),
    })
}

/// Whether the transaction has written this row.
fn is_from(row: &Row, sent: &SentCommit) -> bool {
    let value = row.try_get::<_, Option<&str>>(0);
    let expires = row.try_get::<_, Option<Timestamp>>(1);
    matches!((value, expires), (Ok(Some(value)), Ok(Some(expires)))
        if value == sent.session.value && expires == sent.expires)
}
