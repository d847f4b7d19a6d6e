//! Writing existing sessions: `set`, `touch` and `clear`.
//!
//! A *brief* statement, which costs little more than a plain `UPDATE`, serves nearly all calls. It leaves calls whose
//! sessions are absent, have or get only seconds to live, or are locked by another transaction. A *careful*
//! statement distinguishes these. Calls for locked sessions are executed last, one by one, so that they delay no
//! other call.

use postgres::Row;

use super::{
    PostgresStore,
    batch::{self, SameKey, isolate_errors},
    connection::Effect,
    names::ValueType,
    params::{ArrayParams, CheckedCall, Params, call_index},
    statements::{Sql, WriteStatements},
};
use crate::{Error, deadline::Deadline, store::locked_last};

impl PostgresStore {
    /// Executes one call. Waits if another transaction has locked its session.
    pub(super) fn write(
        &self,
        write: &WriteStatements,
        call: &CheckedCall<'_>,
    ) -> Result<(), Error> {
        self.write_one(write, &write.careful_waiting, call)
    }

    /// Executes many calls within one time limit. Those for locked sessions wait, after all others, one by one.
    pub(super) fn write_many(
        &self,
        write: &WriteStatements,
        calls: &[Result<CheckedCall<'_>, Error>],
    ) -> Vec<Result<(), Error>> {
        Deadline::within(self.timeout).scope(|| {
            let results = self.try_write_many(write, calls.to_vec());
            locked_last(results, |call| {
                self.write_carefully(write, &write.careful_waiting, &[calls[call].clone()?])
                    .and_then(single_result)
            })
        })
    }

    /// Executes many calls. Those for locked sessions fail with [`Error::Locked`].
    pub(super) fn try_write_many(
        &self,
        write: &WriteStatements,
        calls: Vec<Result<CheckedCall<'_>, Error>>,
    ) -> Vec<Result<(), Error>> {
        if let [Ok(call)] = calls[..] {
            return vec![self.write_one(write, &write.careful_skipping, &call)];
        }
        let has_value = |call: &CheckedCall<'_>| call.value.is_some();
        let same_key = if write.may_be_absent {
            SameKey::Shares
        } else if self.value_type != ValueType::Text && calls.iter().flatten().any(has_value) {
            SameKey::InOrder
        } else {
            SameKey::LastWrites
        };
        Deadline::within(self.timeout).scope(|| {
            batch::execute(
                calls,
                same_key,
                |calls| self.write_distinct(write, calls),
                |call| self.write_one(write, &write.careful_skipping, call),
            )
        })
    }

    /// Sends the brief statement, then `careful` if needed.
    fn write_one(
        &self,
        write: &WriteStatements,
        careful: &Sql,
        call: &CheckedCall<'_>,
    ) -> Result<(), Error> {
        let write_carefully = || {
            self.write_carefully(write, careful, &[*call])
                .and_then(single_result)
        };
        Deadline::within(self.timeout).scope(|| {
            if !(write.may_be_absent || call.outlives_brief()) {
                return write_carefully();
            }
            let params = Params::of(call);
            let written = self.with_connection(|connection| {
                connection.count(&write.brief, &params.to(&write.brief), Effect::Unknown)
            });
            match written {
                Ok(rows) if write.may_be_absent || rows > 0 => Ok(()),
                Err(e) if !e.is_lock_timeout() => Err(e),
                _ => write_carefully(),
            }
        })
    }

    /// Executes calls with different keys. Those for locked sessions fail with [`Error::Locked`].
    fn write_distinct(
        &self,
        write: &WriteStatements,
        calls: &[CheckedCall<'_>],
    ) -> Vec<Result<(), Error>> {
        let is_brief = |index: &usize| write.may_be_absent || calls[*index].outlives_brief();
        let (brief, mut left): (Vec<_>, Vec<_>) = (0..calls.len()).partition(is_brief);
        let select =
            |indices: &[usize]| -> Vec<_> { indices.iter().map(|index| calls[*index]).collect() };
        let mut done: Vec<_> = calls.iter().map(|_| Ok(())).collect();
        let results = isolate_errors(&select(&brief), CheckedCall::bytes, |calls| {
            self.write_briefly(write, calls)
        });
        for (index, result) in brief.into_iter().zip(results) {
            match result {
                Ok(true) => {}
                Ok(false) => left.push(index),
                Err(e) => done[index] = Err(e),
            }
        }
        // In the order of the keys.
        left.sort_unstable();
        let results = isolate_errors(&select(&left), CheckedCall::bytes, |calls| {
            self.write_carefully(write, &write.careful_skipping, calls)
        });
        for (index, result) in left.into_iter().zip(results) {
            done[index] = result.and_then(|done| done);
        }
        done
    }

    /// Sends the brief statement. Returns for each call whether it is done.
    fn write_briefly(
        &self,
        write: &WriteStatements,
        calls: &[CheckedCall<'_>],
    ) -> Result<Vec<bool>, Error> {
        let sql = &write.brief_many;
        let params = ArrayParams::of(calls);
        let done = self.with_connection(|connection| {
            let rows = connection.query(sql, &params.to(sql), Effect::Unknown)?;
            let mut done = vec![write.may_be_absent; calls.len()];
            for row in &rows {
                done[call_index(row, 0)?] = true;
            }
            Ok(done)
        });
        match done {
            Err(e) if e.is_lock_timeout() => Ok(vec![false; calls.len()]),
            done => done,
        }
    }

    /// Sends a careful statement. Returns the result of each call.
    fn write_carefully(
        &self,
        write: &WriteStatements,
        careful: &Sql,
        calls: &[CheckedCall<'_>],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let params = ArrayParams::of(calls);
        let skips_locked = std::ptr::eq(careful, &write.careful_skipping);
        self.with_connection(|connection| {
            let rows = connection.query(careful, &params.to(careful), Effect::Unknown)?;
            Ok(read_results(&rows, calls.len(), write, skips_locked)?)
        })
    }
}

/// Reads the results of a careful statement.
pub(super) fn read_results(
    rows: &[Row],
    calls: usize,
    write: &WriteStatements,
    skips_locked: bool,
) -> Result<Vec<Result<(), Error>>, postgres::Error> {
    let absent = || match write.may_be_absent {
        true => Ok(()),
        false => Err(Error::NotFound),
    };
    let mut results: Vec<_> = (0..calls).map(|_| absent()).collect();
    for row in rows {
        let result = &mut results[call_index(row, 0)?];
        match row.try_get(1)? {
            true if !matches!(result, Err(Error::Locked)) => *result = Ok(()),
            true => {}
            // A statement that has waited reports a row that was removed during the wait.
            false if skips_locked => *result = Err(Error::Locked),
            false => {}
        }
    }
    Ok(results)
}

/// Returns the result of a statement for one call.
pub(super) fn single_result<T>(results: Vec<Result<T, Error>>) -> Result<T, Error> {
    results.into_iter().next().unwrap_or(Err(Error::NotFound))
}
