//! Read, edit, write: the one operation that is a transaction.

use std::{
    thread,
    time::{Duration, Instant},
};

use postgres::error::SqlState;

use super::{
    PostgresStore,
    batch::Call,
    connection::Connection,
    row::{self, Found},
    secret::Secret,
};
use crate::{Error, Session, session::check_value};

/// How long to wait for the server to know what became of a transaction.
const OUTCOME_WAIT: Duration = Duration::from_secs(5);

/// A transaction whose commit was sent, and what it leaves behind if the server got it.
struct Sent {
    transaction: i64,
    session: Session,
}

impl PostgresStore {
    /// Runs `edit` under the lock of the row of `call`, whose period a new value gets.
    ///
    /// Four round trips: begin, lock and read, write, commit. Where the answer to the commit is lost,
    /// the server is asked on the next connection what became of it, so that nothing is done twice.
    pub(super) fn update_locked(
        &self,
        call: &Call<'_>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        let mut sent: Option<Sent> = None;
        self.run(|connection| {
            if let (Some(sent), Some(cause)) = (&sent, connection.interrupted()) {
                match self.outcome(connection, sent.transaction)?.as_deref() {
                    Some("committed") => return Ok(Ok(sent.session.clone())),
                    Some("aborted") => {}
                    _ => return Ok(Err(Error::Disconnected(cause.clone()))),
                }
            }

            let lock = connection.ready(&self.sql.lock)?;
            let set = connection.ready(&self.sql.set)?;
            // Dropped without a commit, be it by a panic of `edit`, it is rolled back.
            let mut transaction = connection.client().transaction()?;

            let key = call.key();
            let rows = lock.query(&mut transaction, &[&key])?;
            let Some(found) = Found::longest(&rows)? else {
                return Ok(Err(Error::NotFound));
            };
            let Some(value) = edit(found.value()) else {
                return Ok(found.into_session());
            };
            if let Err(invalid) = check_value(&value) {
                return Ok(Err(invalid));
            }
            let written = set.query(
                &mut transaction,
                &[&key, &call.micros, &Some(Secret(&value))],
            )?;
            let (Some(locked), Some(written)) = (rows.first(), written.first()) else {
                return Ok(Err(Error::NotFound));
            };
            let session = Session {
                value,
                period: row::left(written, 0, 1)?,
            };
            sent = Some(Sent {
                transaction: locked.try_get(3)?,
                session: session.clone(),
            });
            transaction.commit()?;
            Ok(Ok(session))
        })?
    }

    /// What the server says of a transaction, once it is no longer under way.
    fn outcome(
        &self,
        connection: &mut Connection<'_>,
        transaction: i64,
    ) -> Result<Option<String>, postgres::Error> {
        let begun = Instant::now();
        loop {
            let rows = match connection.query(&self.sql.outcome, &[&transaction]) {
                // The server has not come so far yet: a crash took the transaction with it, as it
                // may where commits are not synchronous.
                Err(e) if e.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => {
                    return Ok(Some("aborted".to_owned()));
                }
                answer => answer?,
            };
            let outcome: Option<String> = rows
                .first()
                .map(|row| row.try_get(0))
                .transpose()?
                .flatten();
            if outcome.as_deref() != Some("in progress") || begun.elapsed() > OUTCOME_WAIT {
                return Ok(outcome);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
