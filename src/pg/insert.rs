//! Adding sessions under given keys, where no living session has them.

use super::{
    PostgresStore,
    batch::{Call, keys, periods, place, values},
    connection::Connection,
};
use crate::{Error, error::DatabaseError};

/// How often a call is sent again whose row was neither added nor seen.
const MAX_PASSES: usize = 10;

impl PostgresStore {
    /// Adds what can be added, with a result for each call; no two of them have the same key.
    ///
    /// A row that another call added in the meantime stands in the way and cannot be seen yet; then
    /// the call is sent again, in a statement that sees it.
    pub(super) fn insert_absent(
        &self,
        calls: &[&Call<'_>],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let mut results: Vec<_> = calls
            .iter()
            .map(|_| Err(neither_added_nor_seen()))
            .collect();
        let mut open: Vec<usize> = (0..calls.len()).collect();
        let mut interrupted = None;
        for pass in 0..MAX_PASSES {
            let sent: Vec<_> = open.iter().map(|place| calls[*place]).collect();
            let outcomes = self.run(|connection| {
                interrupted = connection.interrupted().cloned().or(interrupted.take());
                self.insert_pass(connection, &sent)
            });
            let outcomes = match outcomes {
                Ok(outcomes) => outcomes,
                Err(e) if pass == 0 => return Err(e),
                // What was added before stays added.
                Err(e) => {
                    // One that was neither added nor seen may be what an interrupted try has added.
                    let e = interrupted.map_or(e, Error::Disconnected);
                    open.iter()
                        .for_each(|place| results[*place] = Err(e.clone()));
                    return Ok(results);
                }
            };
            let mut undecided = Vec::new();
            for (place, outcome) in open.into_iter().zip(outcomes) {
                match (outcome, &interrupted) {
                    (Outcome::Added, _) => results[place] = Ok(()),
                    (Outcome::Exists, None) => results[place] = Err(Error::KeyExists),
                    // It may be this call's own session, which an earlier try has put there.
                    (Outcome::Exists, Some(cause)) => {
                        results[place] = Err(Error::Disconnected(cause.clone()));
                    }
                    (Outcome::Neither, _) => undecided.push(place),
                }
            }
            if undecided.is_empty() {
                break;
            }
            open = undecided;
        }
        Ok(results)
    }

    /// Sends the calls once.
    pub(super) fn insert_pass(
        &self,
        connection: &mut Connection<'_>,
        calls: &[&Call<'_>],
    ) -> Result<Vec<Outcome>, postgres::Error> {
        let params = (keys(calls), periods(calls), values(calls));
        let rows = connection.query(&self.sql.insert_many, &[&params.0, &params.1, &params.2])?;
        let mut outcomes: Vec<_> = calls.iter().map(|_| Outcome::Neither).collect();
        for row in &rows {
            outcomes[place(row, 0)?] = match (row.try_get(1)?, row.try_get(2)?) {
                (true, _) => Outcome::Added,
                (false, true) => Outcome::Exists,
                (false, false) => Outcome::Neither,
            };
        }
        Ok(outcomes)
    }
}

/// What became of one call.
pub(super) enum Outcome {
    Added,
    /// A living session has the key.
    Exists,
    Neither,
}

fn neither_added_nor_seen() -> Error {
    Error::Database(DatabaseError::new(
        "the session was neither added nor is one there: \
         does a trigger or row-level security hide it?",
    ))
}
