//! Adding sessions: `generate` with new keys, and `insert` with keys of the caller.
//!
//! A trigger or a rule of the table may discard a new row or change where it is stored. If a statement reports
//! that it has added nothing, the row is therefore looked up.

use postgres::Row;

use super::{
    PostgresStore,
    batch::{self, SameKey, isolate_errors},
    connection::Effect,
    params::{ArrayParams, CheckedCall, Params, call_index},
    secret::Secret,
    statements::{GenerateStatements, Sql},
};
use crate::{Error, deadline::Deadline, error::DatabaseError, store::locked_last};

/// How often an insert is sent that neither adds a session nor finds one.
pub(super) const MAX_PASSES: usize = 10;

/// The result of an insert statement for one call.
#[derive(Clone, Copy)]
pub(super) enum InsertOutcome {
    Added,
    /// A living session has the key.
    Exists,
    /// Neither added nor found: another transaction or a trigger has interfered.
    Neither,
}

impl PostgresStore {
    /// Adds sessions with new keys, which no other call knows. Those with an owner are added by another statement,
    /// because a table needs no column for owners.
    pub(super) fn generate_all(&self, calls: &[CheckedCall<'_>]) -> Vec<Result<(), Error>> {
        let mut results: Vec<_> = calls.iter().map(|_| Ok(())).collect();
        for (sql, has_owner) in [
            (&self.sql.generate, false),
            (&self.sql.generate_with_owner, true),
        ] {
            let is_meant = |index: &usize| calls[*index].owner.is_some() == has_owner;
            let indices: Vec<_> = (0..calls.len()).filter(is_meant).collect();
            let chosen: Vec<_> = indices.iter().map(|index| calls[*index]).collect();
            for (index, result) in indices.into_iter().zip(self.generate_by(sql, &chosen)) {
                results[index] = result;
            }
        }
        results
    }

    fn generate_by(
        &self,
        sql: &GenerateStatements,
        calls: &[CheckedCall<'_>],
    ) -> Vec<Result<(), Error>> {
        let added = isolate_errors(calls, CheckedCall::bytes, |calls| {
            let params = ArrayParams::of(calls);
            let are_added = self.with_connection(|connection| {
                if let (Some(_), Some(call)) = (connection.unanswered(), calls.first()) {
                    // An earlier attempt may have added them: all or none.
                    let first = [&Secret::of(call.key) as _];
                    let rows = connection.query(&self.sql.stored, &first, Effect::None)?;
                    if !rows.is_empty() {
                        return Ok(true);
                    }
                }
                let rows = match calls {
                    [call] => {
                        let params = Params::of(call);
                        connection.query(&sql.one, &params.to(&sql.one), Effect::Provable)?
                    }
                    _ => connection.query(&sql.many, &params.to(&sql.many), Effect::Provable)?,
                };
                Ok(rows.len() == calls.len())
            })?;
            Ok(calls
                .iter()
                .map(|call| match are_added {
                    true => Ok(()),
                    false => self.check_stored(call),
                })
                .collect())
        });
        added.into_iter().map(|done| done?).collect()
    }

    /// Adds a session. Waits if another transaction holds a lock on the key.
    pub(super) fn insert_one(&self, call: &CheckedCall<'_>) -> Result<(), Error> {
        Deadline::within(self.timeout).scope(|| {
            let calls = std::slice::from_ref(call);
            for pass in 0..MAX_PASSES {
                let outcomes = self.insert_pass(&self.sql.insert_waiting, calls)?;
                match outcomes.first() {
                    Some(InsertOutcome::Added) => return Ok(()),
                    Some(InsertOutcome::Exists) => return Err(Error::KeyExists),
                    _ if pass == 0
                        && self
                            .inserts_are_diverted()
                            .map_err(|e| outcome_unknown(&e))? =>
                    {
                        return to_result(self.find_diverted(call));
                    }
                    _ => {}
                }
            }
            Err(discarded())
        })
    }

    /// Adds many sessions within one time limit. Those that wait for another transaction are added after all others,
    /// one by one.
    pub(super) fn insert_all(
        &self,
        calls: &[Result<CheckedCall<'_>, Error>],
    ) -> Vec<Result<(), Error>> {
        Deadline::within(self.timeout).scope(|| {
            let results = self.try_insert_all(calls.to_vec());
            locked_last(results, |call| self.insert_one(&calls[call].clone()?))
        })
    }

    /// Adds many sessions. Those that would wait for another transaction fail with [`Error::Locked`].
    pub(super) fn try_insert_all(
        &self,
        calls: Vec<Result<CheckedCall<'_>, Error>>,
    ) -> Vec<Result<(), Error>> {
        let one = |call: &CheckedCall<'_>| {
            let results = self.insert_distinct(std::slice::from_ref(call));
            results.into_iter().next().unwrap_or(Err(Error::Locked))
        };
        let many = |calls: &[CheckedCall<'_>]| self.insert_distinct(calls);
        Deadline::within(self.timeout)
            .scope(|| batch::execute(calls, SameKey::FirstInserts, many, one))
    }

    /// Adds sessions with different keys. Those that would wait for another transaction fail with
    /// [`Error::Locked`].
    fn insert_distinct(&self, calls: &[CheckedCall<'_>]) -> Vec<Result<(), Error>> {
        let mut results = self.try_insert(calls);
        let is_open =
            |result: &Result<InsertOutcome, Error>| matches!(result, Ok(InsertOutcome::Neither));
        let open: Vec<_> = (0..calls.len())
            .filter(|index| is_open(&results[*index]))
            .collect();
        if open.is_empty() {
            return results.into_iter().map(to_result).collect();
        }
        let left: Vec<_> = open.iter().map(|index| calls[*index]).collect();
        let again: Vec<_> = match self.inserts_are_diverted() {
            // A second statement sees the row of a transaction that has committed during the first.
            Ok(false) => self.try_insert(&left),
            Ok(true) => left.iter().map(|call| self.find_diverted(call)).collect(),
            Err(e) => left.iter().map(|_| Err(outcome_unknown(&e))).collect(),
        };
        for (index, result) in open.into_iter().zip(again) {
            results[index] = result;
        }
        results.into_iter().map(to_result).collect()
    }

    /// Sends inserts that wait for a lock for at most 20 ms.
    fn try_insert(&self, calls: &[CheckedCall<'_>]) -> Vec<Result<InsertOutcome, Error>> {
        isolate_errors(calls, CheckedCall::bytes, |calls| {
            match self.insert_pass(&self.sql.insert, calls) {
                Err(e) if e.is_lock_timeout() => Err(Error::Locked),
                outcomes => outcomes,
            }
        })
    }

    fn insert_pass(
        &self,
        sql: &Sql,
        calls: &[CheckedCall<'_>],
    ) -> Result<Vec<InsertOutcome>, Error> {
        let params = ArrayParams::of(calls);
        self.with_connection(|connection| {
            let rows = connection.query(sql, &params.to(sql), Effect::Unknown)?;
            Ok(read_outcomes(&rows, calls.len())?)
        })
    }

    /// Returns an error if no row has the new key of this call.
    fn check_stored(&self, call: &CheckedCall<'_>) -> Result<(), Error> {
        match self.stored_values(call).map_err(|e| outcome_unknown(&e))?[..] {
            [] => Err(discarded()),
            _ => Ok(()),
        }
    }

    /// Returns the outcome of an insert that a trigger or a rule may have discarded or diverted.
    fn find_diverted(&self, call: &CheckedCall<'_>) -> Result<InsertOutcome, Error> {
        let values = self.stored_values(call).map_err(|e| outcome_unknown(&e))?;
        diverted_outcome(&values, call)
    }

    /// Returns the values of all rows of a key, also of expired ones.
    fn stored_values(&self, call: &CheckedCall<'_>) -> Result<Vec<Option<String>>, Error> {
        self.with_connection(|connection| {
            let sql = &self.sql.stored;
            let rows = connection.query(sql, &[&Secret::of(call.key)], Effect::None)?;
            let values = rows.iter().map(|row| row.try_get(0));
            Ok(values.collect::<Result<_, postgres::Error>>()?)
        })
    }

    /// Returns whether a trigger or a rule may discard a new row or change where it is stored.
    fn inserts_are_diverted(&self) -> Result<bool, Error> {
        let table = self.names.table.to_string();
        self.with_connection(|connection| {
            let sql = &self.sql.insert_is_diverted;
            let rows = connection.query(sql, &[&table], Effect::None)?;
            let is_diverted = rows.first().map_or(Ok(false), |row| row.try_get(0));
            Ok(is_diverted?)
        })
    }
}

/// Returns the outcome of an insert that a trigger or a rule may have discarded or diverted, from the values of all rows
/// with its key.
pub(super) fn diverted_outcome(
    values: &[Option<String>],
    call: &CheckedCall<'_>,
) -> Result<InsertOutcome, Error> {
    if values.iter().any(|value| value.as_deref() == call.value) {
        Ok(InsertOutcome::Added)
    } else if values.is_empty() {
        Err(discarded())
    } else {
        Ok(InsertOutcome::Exists)
    }
}

/// Reads what an insert statement returns.
pub(super) fn read_outcomes(
    rows: &[Row],
    calls: usize,
) -> Result<Vec<InsertOutcome>, postgres::Error> {
    let mut outcomes = vec![InsertOutcome::Neither; calls];
    for row in rows {
        outcomes[call_index(row, 0)?] = match (row.try_get(1)?, row.try_get(2)?) {
            (true, _) => InsertOutcome::Added,
            (false, true) => InsertOutcome::Exists,
            (false, false) => InsertOutcome::Neither,
        };
    }
    Ok(outcomes)
}

pub(super) fn to_result(outcome: Result<InsertOutcome, Error>) -> Result<(), Error> {
    match outcome? {
        InsertOutcome::Added => Ok(()),
        InsertOutcome::Exists => Err(Error::KeyExists),
        InsertOutcome::Neither => Err(Error::Locked),
    }
}

/// The error of an insert that may have been executed, if looking up the row has failed.
fn outcome_unknown(error: &Error) -> Error {
    Error::Disconnected(DatabaseError::new(&error.to_string()))
}

pub(super) fn discarded() -> Error {
    Error::Database(DatabaseError::new(
        "a trigger, a rule or a policy of the table has discarded the new session",
    ))
}
