//! Writing sessions that are there: `set`, `touch` and `clear`.
//!
//! A *brief* statement serves nearly all calls at the cost of a plain `UPDATE`. The calls that it leaves are
//! for sessions that are absent, have or get only seconds to live, or are locked by another transaction. A *careful*
//! statement tells these apart. Calls for locked sessions wait last, each by itself, so that they delay no
//! other.

use super::{
    PostgresStore,
    batch::{Arrays, Call, Params, SameKey, each, isolated, place},
    connection::Effect,
    sql::{Sql, Write},
};
use crate::{Error, deadline::Deadline};

impl PostgresStore {
    /// Does one call, and waits if another transaction has locked its session.
    pub(super) fn write(&self, write: &Write, call: &Call<'_>) -> Result<(), Error> {
        self.write_one(write, &write.waiting, call)
    }

    /// Does many calls. Those whose sessions are locked wait last, one after another.
    pub(super) fn write_many(
        &self,
        write: &Write,
        calls: Vec<Result<Call<'_>, Error>>,
    ) -> Vec<Result<(), Error>> {
        Deadline::within(self.timeout).scope(|| {
            let waiting: Vec<_> = calls
                .iter()
                .map(|call| call.as_ref().ok().copied())
                .collect();
            let mut results = self.try_write_many(write, calls);
            for (result, call) in results.iter_mut().zip(waiting) {
                if let (Err(Error::Locked), Some(call)) = (&result, call) {
                    *result = self.carefully(write, &write.waiting, &[call]).and_then(one);
                }
            }
            results
        })
    }

    /// Does many calls, except for those whose sessions are locked.
    pub(super) fn try_write_many(
        &self,
        write: &Write,
        calls: Vec<Result<Call<'_>, Error>>,
    ) -> Vec<Result<(), Error>> {
        if let [Ok(call)] = calls[..] {
            return vec![self.write_one(write, &write.skipping, &call)];
        }
        let same_key = match write.may_be_absent {
            true => SameKey::Shares,
            false => SameKey::LastWrites,
        };
        Deadline::within(self.timeout).scope(|| {
            each(
                calls,
                same_key,
                |calls| self.write_distinct(write, calls),
                |call| self.write_one(write, &write.skipping, call),
            )
        })
    }

    /// The brief statement for one call, and then the careful one if that is needed.
    fn write_one(&self, write: &Write, careful: &Sql, call: &Call<'_>) -> Result<(), Error> {
        Deadline::within(self.timeout).scope(|| {
            if !(write.may_be_absent || call.outlives_brief()) {
                return self.carefully(write, careful, &[*call]).and_then(one);
            }
            let params = Params::of(call);
            let rows = self.with_connection(|connection| {
                connection.query(&write.one, &params.to(&write.one), Effect::Unknown)
            });
            match rows {
                Ok(rows) if write.may_be_absent || !rows.is_empty() => Ok(()),
                Err(e) if !e.is_lock_timeout() => Err(e),
                _ => self.carefully(write, careful, &[*call]).and_then(one),
            }
        })
    }

    fn write_distinct(&self, write: &Write, calls: &[Call<'_>]) -> Vec<Result<(), Error>> {
        let is_brief = |place: &usize| write.may_be_absent || calls[*place].outlives_brief();
        let (brief, mut left): (Vec<_>, Vec<_>) = (0..calls.len()).partition(is_brief);
        let of = |places: &[usize]| places.iter().map(|place| calls[*place]).collect::<Vec<_>>();
        let mut done: Vec<_> = calls.iter().map(|_| Ok(())).collect();
        let results = isolated(&of(&brief), Call::bytes, |calls| self.briefly(write, calls));
        for (place, result) in brief.into_iter().zip(results) {
            match result {
                Ok(true) => {}
                Ok(false) => left.push(place),
                Err(e) => done[place] = Err(e),
            }
        }
        // In the order of the keys.
        left.sort_unstable();
        let results = isolated(&of(&left), Call::bytes, |calls| {
            self.carefully(write, &write.skipping, calls)
        });
        for (place, result) in left.into_iter().zip(results) {
            done[place] = result.and_then(|done| done);
        }
        done
    }

    /// Sends the brief statement. Returns which calls are done.
    fn briefly(&self, write: &Write, calls: &[Call<'_>]) -> Result<Vec<bool>, Error> {
        let params = Arrays::of(calls);
        let done = self.with_connection(|connection| {
            let rows = connection.query(&write.many, &params.to(&write.many), Effect::Unknown)?;
            let mut done = vec![write.may_be_absent; calls.len()];
            for row in &rows {
                done[place(row, 0)?] = true;
            }
            Ok(done)
        });
        match done {
            Err(e) if e.is_lock_timeout() => Ok(vec![false; calls.len()]),
            done => done,
        }
    }

    /// Sends a careful statement.
    fn carefully(
        &self,
        write: &Write,
        careful: &Sql,
        calls: &[Call<'_>],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let params = Arrays::of(calls);
        let skips = std::ptr::eq(careful, &write.skipping);
        self.with_connection(|connection| {
            let absent = || match write.may_be_absent {
                true => Ok(()),
                false => Err(Error::NotFound),
            };
            let rows = connection.query(careful, &params.to(careful), Effect::Unknown)?;
            let mut results: Vec<_> = calls.iter().map(|_| absent()).collect();
            for row in &rows {
                let result = &mut results[place(row, 0)?];
                match row.try_get(1)? {
                    true if !matches!(result, Err(Error::Locked)) => *result = Ok(()),
                    true => {}
                    // After a wait, the row is no longer there.
                    false if skips => *result = Err(Error::Locked),
                    false => {}
                }
            }
            Ok(results)
        })
    }
}

/// The result of a statement for one call.
fn one<T>(results: Vec<Result<T, Error>>) -> Result<T, Error> {
    results.into_iter().next().unwrap_or(Err(Error::NotFound))
}
