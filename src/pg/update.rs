//! Read, edit, write: the one operation that is a transaction.

use std::{thread, time::Duration};

use postgres::{Row, error::SqlState, types::ToSql};

use super::{
    PostgresStore,
    batch::Call,
    connection::{Connection, Effect, StatementError},
    row::{self, Found, Timestamp},
    secret::Secret,
};
use crate::{Error, Session, session::check_value};

/// A transaction whose commit was sent, and what it leaves if the server got it.
struct Sent {
    transaction: i64,
    expires: Timestamp,
    session: Session,
}

/// The outcome of a transaction without an answer.
enum Outcome {
    Committed,
    Aborted,
    Unknown,
}

impl PostgresStore {
    /// Executes `edit` while the row of `call` is locked. A new value gets the period of `call`.
    ///
    /// These are four round trips: begin, lock and read, write, commit. If there is no answer to the commit, the
    /// server is asked for its outcome on the next connection, so that nothing is done twice.
    pub(super) fn update_locked(
        &self,
        call: &Call<'_>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        let key = Secret::of(call.key);
        let mut sent: Option<Sent> = None;
        self.with_connection(|connection| {
            if let (Some(sent), Some(cause)) = (&sent, connection.unanswered().cloned()) {
                match self.outcome(connection, &key, sent)? {
                    Outcome::Committed => return Ok(Ok(sent.session.clone())),
                    Outcome::Aborted => {}
                    Outcome::Unknown => return Ok(Err(Error::Disconnected(cause))),
                }
            }
            connection.begin()?;
            let rows = connection.query(&self.sql.lock, &[&key], Effect::None)?;
            let Some(found) = Found::longest(&rows)? else {
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
            let transaction = locked.try_get(3)?;
            let expires = written.try_get(0)?;
            let period = row::left(written, 0, 1)?;
            let session = Session { value, period };
            sent = Some(Sent {
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
    /// The row proves a commit: another server may have taken over, on which another transaction has the same
    /// number. That no transaction of this number was committed proves that this one was not.
    fn outcome(
        &self,
        connection: &mut Connection<'_>,
        key: &Secret<'_>,
        sent: &Sent,
    ) -> Result<Outcome, StatementError> {
        while self.is_in_progress(connection, sent)? {
            thread::sleep(Duration::from_millis(10).min(connection.deadline().remaining()));
        }
        let rows = connection.query(&self.sql.stored, &[key], Effect::None)?;
        if rows.iter().any(|row| is_from(row, sent)) {
            return Ok(Outcome::Committed);
        }
        Ok(match self.status(connection, sent)?.as_deref() {
            Some("aborted") => Outcome::Aborted,
            _ => Outcome::Unknown,
        })
    }

    fn is_in_progress(
        &self,
        connection: &mut Connection<'_>,
        sent: &Sent,
    ) -> Result<bool, StatementError> {
        Ok(self.status(connection, sent)?.as_deref() == Some("in progress"))
    }

    fn status(
        &self,
        connection: &mut Connection<'_>,
        sent: &Sent,
    ) -> Result<Option<String>, StatementError> {
        match connection.query(&self.sql.outcome, &[&sent.transaction], Effect::None) {
            // No transaction has had this number yet: a crash took this one with it, or the server that took
            // over has never heard of it.
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

/// Whether a row is what a transaction has written.
fn is_from(row: &Row, sent: &Sent) -> bool {
    let value = row.try_get::<_, Option<&str>>(0);
    let expires = row.try_get::<_, Option<Timestamp>>(1);
    matches!((value, expires), (Ok(Some(value)), Ok(Some(expires)))
        if value == sent.session.value && expires == sent.expires)
}
