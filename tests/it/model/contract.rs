//! The model: what a call may return, and the session that it leaves.

use session_postgres::{Error, MAX_PERIOD, MIN_PERIOD, Period, Session};

use super::steps::{Edit, Text, Verb};

/// The session of a key: absent, or its value, which may be unset, and its remaining period.
pub(super) type State = Option<(Option<Text>, Period)>;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Failure {
    NotFound,
    NotSet,
    KeyExists,
    InvalidValue,
    PeriodOutOfRange,
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Done,
    Found(Text, Period),
    Failed(Failure),
}

/// The result of a call on the store, and the value that the closure of an update got if it ran.
#[derive(Clone, Debug)]
pub(super) struct Returned {
    pub(super) answer: Answer,
    pub(super) seen: Option<Option<Text>>,
}

impl Returned {
    pub(super) fn of<T>(
        result: Result<T, Error>,
        answer: impl FnOnce(T) -> Answer,
    ) -> Result<Returned, String> {
        let answer = match result {
            Ok(done) => answer(done),
            Err(Error::NotFound) => Answer::Failed(Failure::NotFound),
            Err(Error::NotSet) => Answer::Failed(Failure::NotSet),
            Err(Error::KeyExists) => Answer::Failed(Failure::KeyExists),
            Err(Error::InvalidValue(_)) => Answer::Failed(Failure::InvalidValue),
            Err(Error::PeriodOutOfRange { .. }) => Answer::Failed(Failure::PeriodOutOfRange),
            Err(other) => return Err(format!("no call may fail like this: {other}")),
        };
        Ok(Returned { answer, seen: None })
    }
}

pub(super) fn done<T>(_: T) -> Answer {
    Answer::Done
}

pub(super) fn found(session: Session) -> Answer {
    Answer::Found(Text(session.value), session.period)
}

fn state(value: Option<Text>, period: Period) -> State {
    period.is_positive().then_some((value, period))
}

/// The errors of any write with this value and period.
fn failures_of_write(value: Option<&Text>, period: Period) -> Vec<Failure> {
    let mut failures = Vec::new();
    if value.is_some_and(|value| value.0.contains('\0')) {
        failures.push(Failure::InvalidValue);
    }
    if !(MIN_PERIOD..=MAX_PERIOD).contains(&period) {
        failures.push(Failure::PeriodOutOfRange);
    }
    failures
}

/// The errors with which a call on this session may fail. If there are any, it must return one of them.
fn failures(verb: &Verb, before: &State, default: Period) -> Vec<Failure> {
    let mut failures = match verb {
        Verb::Clear | Verb::Get | Verb::Rotate => Vec::new(),
        Verb::Touch(expiry) => failures_of_write(None, expiry.unwrap_or(default)),
        Verb::Set(value, expiry) => failures_of_write(Some(value), expiry.unwrap_or(default)),
        Verb::Insert(value, expiry) => failures_of_write(value.as_ref(), expiry.unwrap_or(default)),
        Verb::Update(edit, expiry) => {
            let old = before.as_ref().map(|(value, _)| value.as_ref());
            let new = old.and_then(|old| edit.of(old.map(|old| old.0.as_str())));
            failures_of_write(new.map(Text).as_ref(), expiry.unwrap_or(default))
        }
    };
    match (verb, before) {
        (Verb::Clear | Verb::Insert(..), None) => {}
        (_, None) => failures.push(Failure::NotFound),
        (Verb::Insert(..), Some(_)) => failures.push(Failure::KeyExists),
        (Verb::Get | Verb::Update(Edit::Keep, _), Some((None, _))) => {
            failures.push(Failure::NotSet)
        }
        _ => {}
    }
    failures
}

/// The result of a call that must not fail, and the session that it leaves.
fn effect(verb: &Verb, before: &State, default: Period) -> (Answer, State) {
    let (value, left) = before.clone().unwrap_or_default();
    let found = |value: &Option<Text>, period| {
        Answer::Found(value.clone().unwrap_or(Text(String::new())), period)
    };
    match verb {
        Verb::Clear | Verb::Rotate => (Answer::Done, None),
        Verb::Get | Verb::Update(Edit::Keep, _) => (found(&value, left), before.clone()),
        Verb::Touch(expiry) => (Answer::Done, state(value, expiry.unwrap_or(default))),
        Verb::Set(new, expiry) => {
            let period = expiry.unwrap_or(default);
            (Answer::Done, state(Some(new.clone()), period))
        }
        Verb::Insert(new, expiry) => (Answer::Done, state(new.clone(), expiry.unwrap_or(default))),
        Verb::Update(edit, expiry) => {
            let period = expiry.unwrap_or(default);
            let new = edit.of(value.as_ref().map(|old| old.0.as_str())).map(Text);
            (found(&new, period), state(new, period))
        }
    }
}

/// The session that a call leaves, or `None` if the contract does not allow what it returned.
pub(super) fn leaves(
    verb: &Verb,
    before: &State,
    default: Period,
    returned: &Returned,
) -> Option<State> {
    let old = before.as_ref().map(|(value, _)| value.clone());
    let failures = failures(verb, before, default);
    // The closure of an update runs, unless the period is refused anyway.
    let is_update = matches!(verb, Verb::Update(..));
    let is_early = returned.answer == Answer::Failed(Failure::PeriodOutOfRange);
    match returned.seen {
        None if is_update && before.is_some() && !is_early => return None,
        Some(_) if returned.seen != old => return None,
        _ => {}
    }
    if !failures.is_empty() {
        let is_one = failures
            .iter()
            .any(|f| returned.answer == Answer::Failed(*f));
        return is_one.then(|| before.clone());
    }
    let (answer, after) = effect(verb, before, default);
    let fits = match (&returned.answer, &answer) {
        (Answer::Found(value, left), Answer::Found(expected, period)) => {
            value == expected && is_about(*left, *period)
        }
        (returned, expected) => returned == expected,
    };
    fits.then_some(after)
}

/// The table rounds to hundredths of a second, and a sequence takes time.
fn is_about(left: Period, expected: Period) -> bool {
    left <= expected + Period::SECOND && left > expected - Period::MINUTE
}

/// The sessions that these calls on one key can leave. There is one for each order of the calls that
/// explains what they returned.
pub(super) fn after_some_order(
    before: &State,
    calls: &[(&Verb, &Returned)],
    default: Period,
) -> Vec<State> {
    if calls.is_empty() {
        return vec![before.clone()];
    }
    let mut possible = Vec::new();
    for first in 0..calls.len() {
        let mut rest = calls.to_vec();
        let (verb, returned) = rest.remove(first);
        if let Some(after) = leaves(verb, before, default, returned) {
            possible.extend(after_some_order(&after, &rest, default));
        }
    }
    possible
}
