//! Executing many calls in few statements, with a result for each.

use postgres::error::SqlState;

use super::params::CheckedCall;
use crate::Error;

/// The most calls in one statement.
const MAX_CALLS: usize = 4096;

/// The most bytes of values in one statement, except for a single larger value.
const MAX_BYTES: usize = 16 << 20;

/// Executes calls and returns their results in the same order.
///
/// Calls for one key are combined into one as `same_key` says. `many` executes calls in the order of their keys,
/// no key twice. If a combined call fails with an error that may concern only one of its calls, `one` executes
/// these calls one by one.
pub(super) fn execute<'a, T: Clone>(
    calls: Vec<Result<CheckedCall<'a>, Error>>,
    same_key: SameKey,
    many: impl FnOnce(&[CheckedCall<'a>]) -> Vec<Result<T, Error>>,
    one: impl Fn(&CheckedCall<'a>) -> Result<T, Error>,
) -> Vec<Result<T, Error>> {
    let mut results: Vec<_> = calls.iter().map(|_| None).collect();
    let mut valid = Vec::with_capacity(calls.len());
    for (index, call) in calls.into_iter().enumerate() {
        match call {
            Ok(call) => valid.push((index, call)),
            Err(e) => results[index] = Some(Err(e)),
        }
    }
    // A stable sort keeps the calls for one key in their order. Comparing the beginnings of keys as numbers is faster.
    valid.sort_by_cached_key(|(_, call)| (call.key.beginning(), call.key));
    let groups: Vec<_> = valid.chunk_by(|(_, a), (_, b)| a.key == b.key).collect();
    let sent: Vec<_> = groups.iter().map(|group| same_key.sent(group)).collect();
    let calls: Vec<_> = groups
        .iter()
        .zip(&sent)
        .map(|(group, sent)| group[*sent].1)
        .collect();
    for ((group, sent), result) in groups.into_iter().zip(sent).zip(many(&calls)) {
        // The calls for a locked session wait together, in their order.
        let is_locked = matches!(result, Err(Error::Locked));
        let is_of_one = !is_locked && result.as_ref().is_err_and(may_concern_one_call);
        if is_of_one && group.len() > 1 && !same_key.is_shared() {
            for (index, call) in group {
                results[*index] = Some(one(call));
            }
            continue;
        }
        if let (SameKey::InOrder, false, [(first, _), rest @ ..]) = (same_key, is_locked, group) {
            results[*first] = Some(result);
            for (index, call) in rest {
                results[*index] = Some(one(call));
            }
            continue;
        }
        let ((last, _), others) = match group.split_last() {
            Some(split) => split,
            None => continue,
        };
        for (number, (index, _)) in others.iter().enumerate() {
            results[*index] = Some(same_key.result(number > sent, result.clone()));
        }
        results[*last] = Some(same_key.result(others.len() > sent, result));
    }
    results.into_iter().flatten().collect()
}

/// How several calls for one key are combined into one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SameKey {
    /// One call is sent, and its result is the result of all.
    Shares,
    /// As `Shares`, and the call that is sent is the one with the longest period.
    SharesLongest,
    /// The last call is sent, and its result is also that of the earlier ones. If a call ends the session, that
    /// one is sent instead, and later calls find no session.
    LastWrites,
    /// The first call is sent, and the others are executed one by one after it, because each value may be invalid.
    InOrder,
    /// The first call is sent, and later ones find that the key exists. A call that ends its session at once is
    /// passed over, because the next one can insert the key again.
    FirstInserts,
}

impl SameKey {
    fn is_shared(self) -> bool {
        matches!(self, SameKey::Shares | SameKey::SharesLongest)
    }

    /// Returns which of the calls for one key is sent.
    fn sent(self, calls: &[(usize, CheckedCall<'_>)]) -> usize {
        let last = calls.len() - 1;
        let ends = |(_, call): &(usize, CheckedCall<'_>)| call.ends_session();
        match self {
            SameKey::Shares | SameKey::InOrder => 0,
            SameKey::SharesLongest => {
                let by_period = |index: &usize| calls[*index].1.micros;
                (0..=last).max_by_key(by_period).unwrap_or(last)
            }
            SameKey::LastWrites => calls.iter().position(ends).unwrap_or(last),
            SameKey::FirstInserts => calls.iter().position(|call| !ends(call)).unwrap_or(last),
        }
    }

    /// Returns the result of a call, given the result of the call that was sent and whether it came later.
    fn result<T>(self, is_later: bool, sent: Result<T, Error>) -> Result<T, Error> {
        match (self, sent) {
            (SameKey::LastWrites, Ok(_)) if is_later => Err(Error::NotFound),
            (SameKey::FirstInserts, Ok(_)) if is_later => Err(Error::KeyExists),
            (_, sent) => sent,
        }
    }
}

/// Executes `statement` for all calls, at most [`MAX_CALLS`] and [`MAX_BYTES`] at a time. If it fails because of
/// some calls, it is executed again without these.
///
/// A failed statement must have had no effect, unless its error is [`Error::Disconnected`].
pub(super) fn isolate_errors<'a, R>(
    calls: &[CheckedCall<'a>],
    bytes: impl Fn(&CheckedCall<'a>) -> usize,
    mut statement: impl FnMut(&[CheckedCall<'a>]) -> Result<Vec<R>, Error>,
) -> Vec<Result<R, Error>> {
    let mut results = Vec::with_capacity(calls.len());
    for group in split_by_size(calls, bytes) {
        match statement(group) {
            Ok(done) => results.extend(done.into_iter().map(Ok)),
            // If a statement for no call fails too, the error concerns all calls.
            Err(e) if group.len() > 1 && may_concern_one_call(&e) && statement(&[]).is_ok() => {
                execute_halves(group, &mut statement, &mut results);
            }
            Err(e) => results.extend(group.iter().map(|_| Err(e.clone()))),
        }
    }
    results
}

/// Executes each half of a group that has failed, and the halves of a half that fails.
fn execute_halves<'a, R>(
    group: &[CheckedCall<'a>],
    statement: &mut impl FnMut(&[CheckedCall<'a>]) -> Result<Vec<R>, Error>,
    results: &mut Vec<Result<R, Error>>,
) {
    let (first, second) = group.split_at(group.len() / 2);
    for half in [first, second] {
        match statement(half) {
            Ok(done) => results.extend(done.into_iter().map(Ok)),
            Err(e) if half.len() > 1 && may_concern_one_call(&e) => {
                execute_halves(half, statement, results);
            }
            Err(e) => results.extend(half.iter().map(|_| Err(e.clone()))),
        }
    }
}

/// The classes of SQLSTATEs that concern the connection, the transaction, the statement or the server, and so all
/// calls. They include the errors of the time limits that can be set for a role.
const CLASSES_OF_ALL_CALLS: [&str; 13] = [
    "08", "0A", "25", "26", "28", "3D", "3F", "40", "42", "53", "55", "57", "58",
];

/// Whether the error may concern only one call of a statement: invalid data, a constraint, a row security policy,
/// an error of a trigger, which may have any SQLSTATE, or a locked row.
fn may_concern_one_call(error: &Error) -> bool {
    if matches!(error, Error::Disconnected(_)) {
        // The statement may have been executed.
        return false;
    }
    matches!(error, Error::Locked)
        || error.sqlstate().is_some_and(|code| {
            *code == SqlState::INSUFFICIENT_PRIVILEGE
                || !CLASSES_OF_ALL_CALLS.contains(&code.code().get(..2).unwrap_or_default())
        })
}

/// Splits calls into groups that fit into one statement each.
fn split_by_size<'c, 'a>(
    calls: &'c [CheckedCall<'a>],
    bytes: impl Fn(&CheckedCall<'a>) -> usize,
) -> impl Iterator<Item = &'c [CheckedCall<'a>]> {
    let mut rest = calls;
    std::iter::from_fn(move || {
        let mut total = 0;
        let fits = |call: &&CheckedCall<'a>| {
            total += bytes(call);
            total <= MAX_BYTES
        };
        let count = rest.iter().take(MAX_CALLS).take_while(fits).count();
        let (group, left) = rest.split_at(count.max(1).min(rest.len()));
        rest = left;
        (!group.is_empty()).then_some(group)
    })
}
