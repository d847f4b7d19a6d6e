//! Adding sessions: under new keys, and under keys that the caller chose.

use super::{
    PostgresStore,
    batch::{Arrays, Call, Params, SameKey, each, isolated, place},
    connection::{Connection, Effect, StatementError},
    secret::Secret,
    sql::Sql,
};
use crate::{Error, deadline::Deadline, error::DatabaseError};

/// How often an insert is sent that neither adds a session nor finds one.
const MAX_PASSES: usize = 10;

/// The outcome of one insert.
#[derive(Clone, Copy)]
enum Outcome {
    Added,
    /// A living session has the key.
    Exists,
    /// Another transaction is in the way, or a trigger.
    Neither,
}

impl PostgresStore {
    /// Adds a session, and waits if another transaction is in the way.
    pub(super) fn insert_one(&self, call: &Call<'_>) -> Result<(), Error> {
        Deadline::within(self.timeout).scope(|| {
            let calls = std::slice::from_ref(call);
            for pass in 0..MAX_PASSES {
                let outcomes = self.insert_pass(&self.sql.insert_waiting, calls)?;
                match outcomes.first() {
                    Some(Outcome::Added) => return Ok(()),
                    Some(Outcome::Exists) => return Err(Error::KeyExists),
                    _ if pass == 0 && self.inserts_are_diverted().map_err(|e| unknown(&e))? => {
                        return told(self.diverted(call));
                    }
                    _ => {}
                }
            }
            Err(discarded())
        })
    }

    /// Adds many sessions. Those with another transaction in the way wait last, one after another.
    pub(super) fn insert_all(&self, calls: Vec<Result<Call<'_>, Error>>) -> Vec<Result<(), Error>> {
        Deadline::within(self.timeout).scope(|| {
            let waiting: Vec<_> = calls
                .iter()
                .map(|call| call.as_ref().ok().copied())
                .collect();
            let mut results = self.try_insert_all(calls);
            for (result, call) in results.iter_mut().zip(waiting) {
                if let (Err(Error::Locked), Some(call)) = (&result, call) {
                    *result = self.insert_one(&call);
                }
            }
            results
        })
    }

    /// Adds many sessions, except for those with another transaction in the way.
    pub(super) fn try_insert_all(
        &self,
        calls: Vec<Result<Call<'_>, Error>>,
    ) -> Vec<Result<(), Error>> {
        let one = |call: &Call<'_>| {
            let results = self.insert_distinct(std::slice::from_ref(call));
            results.into_iter().next().unwrap_or(Err(Error::Locked))
        };
        Deadline::within(self.timeout).scope(|| {
            each(
                calls,
                SameKey::FirstInserts,
                |calls| self.insert_distinct(calls),
                one,
            )
        })
    }

    fn insert_distinct(&self, calls: &[Call<'_>]) -> Vec<Result<(), Error>> {
        let mut results = self.try_insert(calls);
        let is_open = |result: &Result<Outcome, Error>| matches!(result, Ok(Outcome::Neither));
        let open: Vec<_> = (0..calls.len())
            .filter(|place| is_open(&results[*place]))
            .collect();
        if open.is_empty() {
            return results.into_iter().map(told).collect();
        }
        let left: Vec<_> = open.iter().map(|place| calls[*place]).collect();
        let again: Vec<_> = match self.inserts_are_diverted() {
            // The row of a transaction that has committed meanwhile is visible to another statement.
            Ok(false) => self.try_insert(&left),
            Ok(true) => left.iter().map(|call| self.diverted(call)).collect(),
            Err(e) => left.iter().map(|_| Err(unknown(&e))).collect(),
        };
        for (place, result) in open.into_iter().zip(again) {
            results[place] = result;
        }
        results.into_iter().map(told).collect()
    }

    /// Sends inserts that do not wait for long.
    fn try_insert(&self, calls: &[Call<'_>]) -> Vec<Result<Outcome, Error>> {
        isolated(calls, Call::bytes, |calls| {
            match self.insert_pass(&self.sql.insert, calls) {
                Err(e) if e.is_lock_timeout() => Err(Error::Locked),
                outcomes => outcomes,
            }
        })
    }

    fn insert_pass(&self, sql: &Sql, calls: &[Call<'_>]) -> Result<Vec<Outcome>, Error> {
        self.with_connection(|connection| insert(connection, sql, calls, Effect::Unknown))
    }

    /// Adds sessions under keys that no other call knows.
    pub(super) fn generate_all(&self, calls: &[Call<'_>]) -> Vec<Result<(), Error>> {
        let added = isolated(calls, Call::bytes, |calls| {
            let params = Arrays::of(calls);
            let are_added = self.with_connection(|connection| {
                if connection.unanswered().is_some() {
                    // They may be there already.
                    let sql = &self.sql.insert_waiting;
                    let outcomes = insert(connection, sql, calls, Effect::Provable)?;
                    let is_there = |outcome: &Outcome| !matches!(outcome, Outcome::Neither);
                    return Ok(outcomes.iter().all(is_there));
                }
                let rows = match calls {
                    [call] => {
                        let sql = &self.sql.generate;
                        connection.query(sql, &Params::of(call).to(sql), Effect::Provable)?
                    }
                    _ => {
                        let sql = &self.sql.generate_many;
                        connection.query(sql, &params.to(sql), Effect::Provable)?
                    }
                };
                Ok(rows.len() == calls.len())
            })?;
            Ok(calls
                .iter()
                .map(|call| match are_added {
                    true => Ok(()),
                    false => self.own_is_stored(call),
                })
                .collect())
        });
        added.into_iter().map(|done| done?).collect()
    }

    /// Fails if a session of the call's own key is not there.
    fn own_is_stored(&self, call: &Call<'_>) -> Result<(), Error> {
        match self.stored(call).map_err(|e| unknown(&e))?[..] {
            [] => Err(discarded()),
            _ => Ok(()),
        }
    }

    /// The outcome of an insert that a trigger may have discarded, or stored elsewhere.
    fn diverted(&self, call: &Call<'_>) -> Result<Outcome, Error> {
        let values = self.stored(call).map_err(|e| unknown(&e))?;
        if values.iter().any(|value| value.as_deref() == call.value) {
            Ok(Outcome::Added)
        } else if values.is_empty() {
            Err(discarded())
        } else {
            Ok(Outcome::Exists)
        }
    }

    /// The values of all rows of a key, whether or not they have expired.
    fn stored(&self, call: &Call<'_>) -> Result<Vec<Option<String>>, Error> {
        self.with_connection(|connection| {
            let sql = &self.sql.stored;
            let rows = connection.query(sql, &[&Secret::of(call.key)], Effect::None)?;
            let values = rows.iter().map(|row| row.try_get(0));
            Ok(values.collect::<Result<_, postgres::Error>>()?)
        })
    }

    /// Whether a trigger or a rule decides where a new row goes.
    fn inserts_are_diverted(&self) -> Result<bool, Error> {
        let table = self.table.to_string();
        self.with_connection(|connection| {
            let sql = &self.sql.insert_is_diverted;
            let rows = connection.query(sql, &[&table], Effect::None)?;
            let is_diverted = rows.first().map_or(Ok(false), |row| row.try_get(0));
            Ok(is_diverted?)
        })
    }
}

/// Sends inserts once.
fn insert(
    connection: &mut Connection<'_>,
    sql: &Sql,
    calls: &[Call<'_>],
    effect: Effect,
) -> Result<Vec<Outcome>, StatementError> {
    let rows = connection.query(sql, &Arrays::of(calls).to(sql), effect)?;
    let mut outcomes = vec![Outcome::Neither; calls.len()];
    for row in &rows {
        outcomes[place(row, 0)?] = match (row.try_get(1)?, row.try_get(2)?) {
            (true, _) => Outcome::Added,
            (false, true) => Outcome::Exists,
            (false, false) => Outcome::Neither,
        };
    }
    Ok(outcomes)
}

fn told(outcome: Result<Outcome, Error>) -> Result<(), Error> {
    match outcome? {
        Outcome::Added => Ok(()),
        Outcome::Exists => Err(Error::KeyExists),
        Outcome::Neither => Err(Error::Locked),
    }
}

/// The error of an insert that a trigger may have stored elsewhere, if that cannot be found out.
fn unknown(error: &Error) -> Error {
    Error::Disconnected(DatabaseError::new(&error.to_string()))
}

fn discarded() -> Error {
    Error::Database(DatabaseError::new(
        "a trigger, a rule or a policy of the table has discarded the new session",
    ))
}
