//! Many calls in few statements, and a result for each.

use postgres::{Row, error::SqlState};

use super::secret::Secret;
use crate::{Error, Key, Period};

/// The most calls that share a statement.
const MAX_CALLS: usize = 4096;

/// The most bytes of values that share a statement, but for a single larger one.
const MAX_BYTES: usize = 16 << 20;

/// The column keeps hundredths of a second, and rounds: what must be over at once is dated back by
/// this much, so that rounding does not give it a life.
const GRAIN: Period = Period::milliseconds(10);

/// What one call asks for, checked and in the form that statements take.
pub(super) struct Call<'a> {
    pub(super) key: &'a Key,
    pub(super) value: Option<&'a str>,
    pub(super) micros: i64,
}

impl<'a> Call<'a> {
    pub(super) fn key(&self) -> Secret<'a> {
        Secret(self.key.as_str())
    }

    pub(super) fn value(&self) -> Option<Secret<'a>> {
        self.value.map(Secret)
    }

    /// A call that names a session and writes nothing.
    pub(super) fn of(key: &'a Key) -> Call<'a> {
        Call {
            key,
            value: None,
            micros: 0,
        }
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

pub(super) fn keys<'a>(calls: &[&Call<'a>]) -> Vec<Secret<'a>> {
    calls.iter().map(|call| call.key()).collect()
}

pub(super) fn periods(calls: &[&Call<'_>]) -> Vec<i64> {
    calls.iter().map(|call| call.micros).collect()
}

pub(super) fn values<'a>(calls: &[&Call<'a>]) -> Vec<Option<Secret<'a>>> {
    calls.iter().map(|call| call.value()).collect()
}

/// The call that a row speaks of, by the place in this column, counted from 0.
pub(super) fn place(row: &Row, column: usize) -> Result<usize, postgres::Error> {
    let place: i64 = row.try_get(column)?;
    Ok(place as usize - 1)
}

/// What happens where two calls of a batch name the same key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SameKey {
    /// One statement serves both.
    Shares,
    /// The second is sent after the first is done.
    TakesTurns,
}

/// A call, and its place among the caller's.
type Placed<'a> = (usize, Call<'a>);

/// Runs `statement` for all calls that are fit to be sent, and gives each call its own result, in
/// the order of the calls.
///
/// `statement` is handed calls in the order of their keys, and returns a result for each. Where it
/// fails as a whole, nothing of it was done, unless the error is [`Error::Disconnected`].
pub(super) fn each<T>(
    calls: Vec<Result<Call<'_>, Error>>,
    same_key: SameKey,
    mut statement: impl FnMut(&[&Call<'_>]) -> Result<Vec<Result<T, Error>>, Error>,
) -> Vec<Result<T, Error>> {
    let mut results = Vec::with_capacity(calls.len());
    let mut fit = Vec::with_capacity(calls.len());
    for (place, call) in calls.into_iter().enumerate() {
        match call {
            Ok(call) => fit.push((place, call)),
            Err(e) => results.push((place, Err(e))),
        }
    }
    for turn in turns(fit, same_key) {
        for group in groups(&turn) {
            send(group, &mut statement, &mut results);
        }
    }
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Sends the calls in one statement. Where it fails for something that may be one call's own fault,
/// sends each half by itself, and so finds that one and serves the others.
fn send<T>(
    group: &[Placed<'_>],
    statement: &mut impl FnMut(&[&Call<'_>]) -> Result<Vec<Result<T, Error>>, Error>,
    results: &mut Vec<(usize, Result<T, Error>)>,
) {
    let calls: Vec<_> = group.iter().map(|(_, call)| call).collect();
    let places = group.iter().map(|(place, _)| *place);
    match statement(&calls) {
        Ok(done) => results.extend(places.zip(done)),
        Err(e) if group.len() > 1 && may_be_of_one_call(&e) => {
            let (first, second) = group.split_at(group.len() / 2);
            send(first, statement, results);
            send(second, statement, results);
        }
        Err(e) => results.extend(places.map(|place| (place, Err(e.clone())))),
    }
}

/// The classes of SQLSTATEs that are about the connection, the transaction, the statement or the server,
/// whatever the calls bring.
const OF_ALL: [&str; 12] = [
    "08", "0A", "25", "26", "28", "3D", "3F", "40", "42", "53", "57", "58",
];

/// Whether the server may have failed for what one of the calls brought: data that it cannot hold, a
/// constraint, a limit, a policy for rows, a lock that it did not get, or an exception that a trigger raised,
/// which may have any code.
fn may_be_of_one_call(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| {
        *code == SqlState::INSUFFICIENT_PRIVILEGE
            || !OF_ALL.contains(&code.code().get(..2).unwrap_or_default())
    })
}

/// Puts the calls in the order of their keys, with every further call of one key in a turn of its
/// own where they take turns.
fn turns(mut calls: Vec<Placed<'_>>, same_key: SameKey) -> Vec<Vec<Placed<'_>>> {
    calls.sort_by(|(_, a), (_, b)| a.key.cmp(b.key));
    if same_key == SameKey::Shares {
        return vec![calls];
    }
    let mut turns: Vec<Vec<Placed<'_>>> = Vec::new();
    let mut turn = 0;
    let mut last = None;
    for (place, call) in calls {
        turn = if last == Some(call.key) { turn + 1 } else { 0 };
        last = Some(call.key);
        if turn == turns.len() {
            turns.push(Vec::new());
        }
        turns[turn].push((place, call));
    }
    turns
}

/// Cuts the calls into what one statement takes.
fn groups<'c, 'a>(calls: &'c [Placed<'a>]) -> impl Iterator<Item = &'c [Placed<'a>]> {
    let mut rest = calls;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(_, call): &&Placed<'_>| {
            bytes += call.value.map_or(0, str::len);
            bytes <= MAX_BYTES
        };
        let count = rest.iter().take(MAX_CALLS).take_while(fits).count();
        let group;
        (group, rest) = rest.split_at(count.max(1).min(rest.len()));
        (!group.is_empty()).then_some(group)
    })
}
