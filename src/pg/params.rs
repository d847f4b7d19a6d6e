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
    pub(super) owner: Option<&'a str>,
}

impl<'a> CheckedCall<'a> {
    /// A call that has only a key.
    pub(super) fn of_key(key: &'a Key) -> CheckedCall<'a> {
        CheckedCall {
            key,
            value: None,
            micros: 0,
            owner: None,
        }
    }

    /// A call with a checked period.
    pub(super) fn new(key: &'a Key, value: Option<&'a str>, period: Period) -> CheckedCall<'a> {
        CheckedCall {
            key,
            value,
            micros: micros(period),
            owner: None,
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

/// The parameters of a statement for one call: key, microseconds, value, owner, new key.
pub(super) struct Params<'a>(
    Secret<'a>,
    i64,
    Option<Secret<'a>>,
    Option<Secret<'a>>,
    Option<Secret<'a>>,
);

impl<'a> Params<'a> {
    pub(super) fn of(call: &CheckedCall<'a>) -> Params<'a> {
        Params(
            Secret::of(call.key),
            call.micros,
            call.value.map(Secret),
            call.owner.map(Secret),
            None,
        )
    }

    /// Those of a call that moves its session to a new key.
    pub(super) fn of_rotation(call: &CheckedCall<'a>, new: &'a Key) -> Params<'a> {
        let mut params = Params::of(call);
        params.4 = Some(Secret::of(new));
        params
    }

    /// As many of them as the statement has parameters.
    pub(super) fn to<'p>(&'p self, sql: &Sql) -> Vec<&'p (dyn ToSql + Sync)> {
        let all: [&(dyn ToSql + Sync); 5] = [&self.0, &self.1, &self.2, &self.3, &self.4];
        all[..sql.types.len()].to_vec()
    }
}

/// The parameters of a statement for many calls: keys, microseconds, values, owners.
pub(super) struct ArrayParams<'a>(
    Vec<Secret<'a>>,
    Vec<i64>,
    Vec<Option<Secret<'a>>>,
    Vec<Option<Secret<'a>>>,
);

impl<'a> ArrayParams<'a> {
    pub(super) fn of(calls: &[CheckedCall<'a>]) -> ArrayParams<'a> {
        ArrayParams(
            calls.iter().map(|call| Secret::of(call.key)).collect(),
            calls.iter().map(|call| call.micros).collect(),
            calls.iter().map(|call| call.value.map(Secret)).collect(),
            calls.iter().map(|call| call.owner.map(Secret)).collect(),
        )
    }

    /// As many of them as the statement has parameters.
    pub(super) fn to<'p>(&'p self, sql: &Sql) -> Vec<&'p (dyn ToSql + Sync)> {
        let all: [&(dyn ToSql + Sync); 4] = [&self.0, &self.1, &self.2, &self.3];
        all[..sql.types.len()].to_vec()
    }
}

/// The parameters of a statement that renews sessions: keys, microseconds, and the microseconds of the remaining time
/// below which a session is renewed.
pub(super) struct RenewParams<'a>(Vec<Secret<'a>>, Vec<i64>, Vec<i64>);

impl<'a> RenewParams<'a> {
    pub(super) fn of(
        calls: &[CheckedCall<'a>],
        due_below: impl Fn(&CheckedCall<'a>) -> Period,
    ) -> RenewParams<'a> {
        RenewParams(
            calls.iter().map(|call| Secret::of(call.key)).collect(),
            calls.iter().map(|call| call.micros).collect(),
            calls.iter().map(|call| micros(due_below(call))).collect(),
        )
    }

    pub(super) fn all(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.0, &self.1, &self.2]
    }
}

/// Returns the index of the call that a row answers, from the column with its place in the arrays.
pub(super) fn call_index(row: &Row, column: usize) -> Result<usize, postgres::Error> {
    let place: i64 = row.try_get(column)?;
    Ok(place as usize - 1)
}
