//! Many calls in few statements, and a result for each.

use postgres::{Row, error::SqlState, types::ToSql};

use super::{secret::Secret, sql::Sql};
use crate::{Error, Key, Period};

/// The most calls that share a statement.
const MAX_CALLS: usize = 4096;

/// The most bytes of values that share a statement, except for a single larger one.
const MAX_BYTES: usize = 16 << 20;

/// The column keeps hundredths of a second, and rounds. A session that is to be over at once is dated back by
/// this much, so that rounding does not give it a life.
const GRAIN: Period = Period::milliseconds(10);

/// The time that a session has left, at least, if a brief statement writes it, with what rounding may add.
const BRIEF_MICROS: i64 = 10_010_000;

/// One call, checked and in the form that statements take.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) key: &'a Key,
    pub(super) value: Option<&'a str>,
    pub(super) micros: i64,
}

impl<'a> Call<'a> {
    /// A call that names a session and writes nothing.
    pub(super) fn of(key: &'a Key) -> Call<'a> {
        Call {
            key,
            value: None,
            micros: 0,
        }
    }

    /// The size of what it sends.
    pub(super) fn bytes(&self) -> usize {
        self.value.map_or(0, str::len)
    }

    /// Whether a session that it writes lives for longer than any that a brief statement leaves as it is.
    pub(super) fn outlives_brief(&self) -> bool {
        self.micros > BRIEF_MICROS
    }

    fn ends_session(&self) -> bool {
        self.micros <= 0
    }
}

/// A checked period as statements take it.
pub(super) fn micros(period: Period) -> i64 {
    let period = if period.is_positive() {
        period
    } else {
        period.min(-GRAIN)
    };
    // Checked periods fit; see MAX_PERIOD.
    period.whole_microseconds().try_into().unwrap_or(i64::MAX)
}

/// The parameters of a statement for one call: as many of key, microseconds and value as it has.
pub(super) struct Params<'a>(Secret<'a>, i64, Option<Secret<'a>>);

impl<'a> Params<'a> {
    pub(super) fn of(call: &Call<'a>) -> Params<'a> {
        Params(Secret::of(call.key), call.micros, call.value.map(Secret))
    }

    pub(super) fn to<'p>(&'p self, sql: &Sql) -> Vec<&'p (dyn ToSql + Sync)> {
        let all: [&(dyn ToSql + Sync); 3] = [&self.0, &self.1, &self.2];
        all[..sql.types.len()].to_vec()
    }
}

/// The parameters of a statement for many calls: as many arrays of keys, microseconds and values as it has.
pub(super) struct Arrays<'a>(Vec<Secret<'a>>, Vec<i64>, Vec<Option<Secret<'a>>>);

impl<'a> Arrays<'a> {
    pub(super) fn of(calls: &[Call<'a>]) -> Arrays<'a> {
        Arrays(
            calls.iter().map(|call| Secret::of(call.key)).collect(),
            calls.iter().map(|call| call.micros).collect(),
            calls.iter().map(|call| call.value.map(Secret)).collect(),
        )
    }

    pub(super) fn to<'p>(&'p self, sql: &Sql) -> Vec<&'p (dyn ToSql + Sync)> {
        let all: [&(dyn ToSql + Sync); 3] = [&self.0, &self.1, &self.2];
        all[..sql.types.len()].to_vec()
    }
}

/// The call that a row answers, by the place in this column, counted from 0.
pub(super) fn place(row: &Row, column: usize) -> Result<usize, postgres::Error> {
    let place: i64 = row.try_get(column)?;
    Ok(place as usize - 1)
}

/// The results of several calls for one key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SameKey {
    /// The same for all.
    Shares,
    /// The last is sent, and answers for those before it. One that ends the session is sent instead, and those
    /// after it find none.
    LastWrites,
    /// The first is sent, and those after it find that the key exists. One that ends its session at once makes
    /// room for the next.
    FirstInserts,
}

impl SameKey {
    /// Which of the calls for one key is sent.
    fn sent(self, calls: &[(usize, Call<'_>)]) -> usize {
        let last = calls.len() - 1;
        let ends = |(_, call): &(usize, Call<'_>)| call.ends_session();
        match self {
            SameKey::Shares => 0,
            SameKey::LastWrites => calls.iter().position(ends).unwrap_or(last),
            SameKey::FirstInserts => calls.iter().position(|call| !ends(call)).unwrap_or(last),
        }
    }

    /// The result of a call, from that of the call that was sent.
    fn answer<T>(self, is_later: bool, sent: Result<T, Error>) -> Result<T, Error> {
        match (self, sent) {
            (SameKey::LastWrites, Ok(_)) if is_later => Err(Error::NotFound),
            (SameKey::FirstInserts, Ok(_)) if is_later => Err(Error::KeyExists),
            (_, sent) => sent,
        }
    }
}

/// Gives each call its result, in the order of the calls. `many` is given calls in the order of their keys, no
/// key twice, and `one` is given the calls of one key in order if they cannot be sent as one.
pub(super) fn each<'a, T: Clone>(
    calls: Vec<Result<Call<'a>, Error>>,
    same_key: SameKey,
    many: impl FnOnce(&[Call<'a>]) -> Vec<Result<T, Error>>,
    one: impl Fn(&Call<'a>) -> Result<T, Error>,
) -> Vec<Result<T, Error>> {
    let mut results = Vec::with_capacity(calls.len());
    let mut fit = Vec::with_capacity(calls.len());
    for (place, call) in calls.into_iter().enumerate() {
        match call {
            Ok(call) => fit.push((place, call)),
            Err(e) => results.push((place, Err(e))),
        }
    }
    // Stable, so that the calls of one key stay in the order in which they came.
    fit.sort_by(|(_, a), (_, b)| a.key.cmp(b.key));
    let groups: Vec<_> = fit.chunk_by(|(_, a), (_, b)| a.key == b.key).collect();
    let sent: Vec<_> = groups.iter().map(|group| same_key.sent(group)).collect();
    let calls: Vec<_> = groups
        .iter()
        .zip(&sent)
        .map(|(group, sent)| group[*sent].1)
        .collect();
    for ((group, sent), result) in groups.into_iter().zip(sent).zip(many(&calls)) {
        // The calls for a locked session wait together, in their order.
        let is_locked = matches!(result, Err(Error::Locked));
        let is_of_one = !is_locked && result.as_ref().is_err_and(may_be_of_one_call);
        if is_of_one && group.len() > 1 && same_key != SameKey::Shares {
            results.extend(group.iter().map(|(place, call)| (*place, one(call))));
            continue;
        }
        let ((last, _), others) = match group.split_last() {
            Some(split) => split,
            None => continue,
        };
        for (number, (place, _)) in others.iter().enumerate() {
            results.push((*place, same_key.answer(number > sent, result.clone())));
        }
        results.push((*last, same_key.answer(others.len() > sent, result)));
    }
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Executes `statement` for all calls, in as few statements as their sizes allow, and gives each call its
/// result. If it fails because of one call, the others are served without that one.
///
/// If a statement fails, nothing of it was done, unless the error is [`Error::Disconnected`].
pub(super) fn isolated<'a, R>(
    calls: &[Call<'a>],
    bytes: impl Fn(&Call<'a>) -> usize,
    mut statement: impl FnMut(&[Call<'a>]) -> Result<Vec<R>, Error>,
) -> Vec<Result<R, Error>> {
    let mut results = Vec::with_capacity(calls.len());
    for group in groups(calls, bytes) {
        match statement(group) {
            Ok(done) => results.extend(done.into_iter().map(Ok)),
            // A statement for no call fails too if the error concerns all of them.
            Err(e) if group.len() > 1 && may_be_of_one_call(&e) && statement(&[]).is_ok() => {
                halves(group, &mut statement, &mut results);
            }
            Err(e) => results.extend(group.iter().map(|_| Err(e.clone()))),
        }
    }
    results
}

/// Sends each half of a group that has failed as a whole.
fn halves<'a, R>(
    group: &[Call<'a>],
    statement: &mut impl FnMut(&[Call<'a>]) -> Result<Vec<R>, Error>,
    results: &mut Vec<Result<R, Error>>,
) {
    let (first, second) = group.split_at(group.len() / 2);
    for half in [first, second] {
        match statement(half) {
            Ok(done) => results.extend(done.into_iter().map(Ok)),
            Err(e) if half.len() > 1 && may_be_of_one_call(&e) => halves(half, statement, results),
            Err(e) => results.extend(half.iter().map(|_| Err(e.clone()))),
        }
    }
}

/// The classes of SQLSTATEs that are about the connection, the transaction, the statement or the server. Among
/// them are the time limits that are set for the role.
const OF_ALL: [&str; 13] = [
    "08", "0A", "25", "26", "28", "3D", "3F", "40", "42", "53", "55", "57", "58",
];

/// Whether the server may have failed because of one call: data that it does not take, a constraint, a
/// policy for rows, an exception of a trigger, which may have any code, or a row that is locked.
fn may_be_of_one_call(error: &Error) -> bool {
    if matches!(error, Error::Disconnected(_)) {
        // It may have been carried out.
        return false;
    }
    matches!(error, Error::Locked)
        || error.sqlstate().is_some_and(|code| {
            *code == SqlState::INSUFFICIENT_PRIVILEGE
                || !OF_ALL.contains(&code.code().get(..2).unwrap_or_default())
        })
}

/// Cuts the calls into what one statement takes.
fn groups<'c, 'a>(
    calls: &'c [Call<'a>],
    bytes: impl Fn(&Call<'a>) -> usize,
) -> impl Iterator<Item = &'c [Call<'a>]> {
    let mut rest = calls;
    std::iter::from_fn(move || {
        let mut total = 0;
        let fits = |call: &&Call<'a>| {
            total += bytes(call);
            total <= MAX_BYTES
        };
        let count = rest.iter().take(MAX_CALLS).take_while(fits).count();
        let (group, left) = rest.split_at(count.max(1).min(rest.len()));
        rest = left;
        (!group.is_empty()).then_some(group)
    })
}
