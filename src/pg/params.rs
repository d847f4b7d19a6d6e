//! The arguments of calls, as parameters of statements.

use postgres::{Row, types::ToSql};

use super::{secret::Secret, statements::Sql};
use crate::{Key, Period};

/// The unit of `expire_date`, to which the server rounds. A session that is to expire at once gets an expiry date
/// that is at least this far in the past, because rounding could prolong it otherwise.
const EXPIRE_DATE_UNIT: Period = Period::milliseconds(10);

/// The time that a session must have left for a brief statement, in microseconds: ten seconds, and what rounding
/// may add.
const BRIEF_MICROS: i64 = 10_010_000;

/// The arguments of one call, checked and converted.
#[derive(Clone, Copy)]
pub(super) struct CheckedCall<'a> {
    pub(super) key: &'a Key,
    pub(super) value: Option<&'a str>,
    /// The period in microseconds.
    pub(super) micros: i64,
}

impl<'a> CheckedCall<'a> {
    /// A call that has only a key.
    pub(super) fn of_key(key: &'a Key) -> CheckedCall<'a> {
        CheckedCall {
            key,
            value: None,
            micros: 0,
        }
    }

    /// A call with a checked period.
    pub(super) fn new(key: &'a Key, value: Option<&'a str>, period: Period) -> CheckedCall<'a> {
        CheckedCall {
            key,
            value,
            micros: micros(period),
        }
    }

    /// The size of its value.
    pub(super) fn bytes(&self) -> usize {
        self.value.map_or(0, str::len)
    }

    /// Whether it gives the session more time than a brief statement requires.
    pub(super) fn outlives_brief(&self) -> bool {
        self.micros > BRIEF_MICROS
    }

    pub(super) fn ends_session(&self) -> bool {
        self.micros <= 0
    }
}

fn micros(period: Period) -> i64 {
    let period = if period.is_positive() {
        period
    } else {
        period.min(-EXPIRE_DATE_UNIT)
    };
    // Periods up to MAX_PERIOD fit.
    period.whole_microseconds().try_into().unwrap_or(i64::MAX)
}

/// The parameters of a statement for one call: key, microseconds, value.
pub(super) struct Params<'a>(Secret<'a>, i64, Option<Secret<'a>>);

impl<'a> Params<'a> {
    pub(super) fn of(call: &CheckedCall<'a>) -> Params<'a> {
        Params(Secret::of(call.key), call.micros, call.value.map(Secret))
    }

    /// As many of them as the statement has parameters.
    pub(super) fn to<'p>(&'p self, sql: &Sql) -> Vec<&'p (dyn ToSql + Sync)> {
        let all: [&(dyn ToSql + Sync); 3] = [&self.0, &self.1, &self.2];
        all[..sql.types.len()].to_vec()
    }
}

/// The parameters of a statement for many calls: keys, microseconds, values.
pub(super) struct ArrayParams<'a>(Vec<Secret<'a>>, Vec<i64>, Vec<Option<Secret<'a>>>);

impl<'a> ArrayParams<'a> {
    pub(super) fn of(calls: &[CheckedCall<'a>]) -> ArrayParams<'a> {
        ArrayParams(
            calls.iter().map(|call| Secret::of(call.key)).collect(),
            calls.iter().map(|call| call.micros).collect(),
            calls.iter().map(|call| call.value.map(Secret)).collect(),
        )
    }

    /// As many of them as the statement has parameters.
    pub(super) fn to<'p>(&'p self, sql: &Sql) -> Vec<&'p (dyn ToSql + Sync)> {
        let all: [&(dyn ToSql + Sync); 3] = [&self.0, &self.1, &self.2];
        all[..sql.types.len()].to_vec()
    }
}

/// Returns the index of the call that a row answers, from the column with its place in the arrays.
pub(super) fn call_index(row: &Row, column: usize) -> Result<usize, postgres::Error> {
    let place: i64 = row.try_get(column)?;
    Ok(place as usize - 1)
}
