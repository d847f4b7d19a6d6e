//! The model: what a call may return, and the session that it leaves.

use session_postgres::{Error, MAX_PERIOD, MIN_PERIOD, Period, Session};

use super::steps::{Edit, Fields, OWNERS, Text, Verb};

/// A session. Its value may be unset.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) value: Option<Text>,
    pub(super) left: Period,
    pub(super) owner: Option<Text>,
}

/// The session of a key, if there is one.
pub(super) type State = Option<Held>;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Failure {
    NotFound,
    NotSet,
    KeyExists,
    InvalidValue,
    InvalidOwner,
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
            Err(Error::InvalidOwner(_)) => Answer::Failed(Failure::InvalidOwner),
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

fn state(value: Option<Text>, left: Period, owner: Option<Text>) -> State {
    left.is_positive().then_some(Held { value, left, owner })
}

/// The session after a rotation with these changes.
pub(super) fn rotated(before: &Held, changes: &Fields) -> State {
    let before = before.clone();
    state(
        changes.value.clone().or(before.value),
        changes.expiry.unwrap_or(before.left),
        changes.owner.clone().or(before.owner),
    )
}

/// Whether a renewal with this period restarts the period.
fn is_due(left: Period, period: Period) -> bool {
    left.as_seconds_f64() < period.as_seconds_f64() * 0.9
}

/// The errors of any write with this value, period and owner.
fn failures_of_write(
    value: Option<&Text>,
    period: Option<Period>,
    owner: Option<&Text>,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    if value.is_some_and(|value| value.0.contains('\0')) {
        failures.push(Failure::InvalidValue);
    }
    if period.is_some_and(|period| !(MIN_PERIOD..=MAX_PERIOD).contains(&period)) {
        failures.push(Failure::PeriodOutOfRange);
    }
    if owner.is_some_and(|owner| !OWNERS.contains(&owner.0.as_str())) {
        failures.push(Failure::InvalidOwner);
    }
    failures
}

/// The errors with which a call on this session may fail. If there are any, it must return one of them.
fn failures(verb: &Verb, before: &State, default: Period) -> Vec<Failure> {
    let or_default = |expiry: &Option<Period>| Some(expiry.unwrap_or(default));
    let mut failures = match verb {
        Verb::Clear | Verb::Get => Vec::new(),
        Verb::Touch(expiry) | Verb::Renew(expiry) => {
            failures_of_write(None, or_default(expiry), None)
        }
        Verb::Set(value, expiry) => failures_of_write(Some(value), or_default(expiry), None),
        Verb::Insert(new) => {
            let period = or_default(&new.expiry);
            failures_of_write(new.value.as_ref(), period, new.owner.as_ref())
        }
        Verb::Rotate(new) => failures_of_write(new.value.as_ref(), new.expiry, new.owner.as_ref()),
        Verb::SetOwner(owner) => failures_of_write(None, None, owner.as_ref()),
        Verb::Update(edit, expiry) => {
            let old = before.as_ref().map(|before| before.value.as_ref());
            let new = old.and_then(|old| edit.of(old.map(|old| old.0.as_str())));
            failures_of_write(new.map(Text).as_ref(), or_default(expiry), None)
        }
    };
    match (verb, before) {
        (Verb::Clear | Verb::Insert(_), None) => {}
        (_, None) => failures.push(Failure::NotFound),
        (Verb::Insert(_), Some(_)) => failures.push(Failure::KeyExists),
        (
            Verb::Get | Verb::Renew(_) | Verb::Update(Edit::Keep, _),
            Some(Held { value: None, .. }),
        ) => failures.push(Failure::NotSet),
        _ => {}
    }
    failures
}

/// The result of a call that must not fail, and the session that it leaves.
fn effect(verb: &Verb, before: &State, default: Period) -> (Answer, State) {
    let (value, left, owner) = match before.clone() {
        Some(before) => (before.value, before.left, before.owner),
        None => Default::default(),
    };
    let found = |value: &Option<Text>, period| {
        Answer::Found(value.clone().unwrap_or(Text(String::new())), period)
    };
    match verb {
        Verb::Clear | Verb::Rotate(_) => (Answer::Done, None),
        Verb::Get | Verb::Update(Edit::Keep, _) => (found(&value, left), before.clone()),
        Verb::Touch(expiry) => {
            let period = expiry.unwrap_or(default);
            (Answer::Done, state(value, period, owner))
        }
        Verb::Renew(expiry) => {
            let period = expiry.unwrap_or(default);
            let left = if is_due(left, period) { period } else { left };
            (found(&value, left), state(value, left, owner))
        }
        Verb::Set(new, expiry) => {
            let period = expiry.unwrap_or(default);
            (Answer::Done, state(Some(new.clone()), period, owner))
        }
        Verb::Insert(new) => {
            let period = new.expiry.unwrap_or(default);
            let after = state(new.value.clone(), period, new.owner.clone());
            (Answer::Done, after)
        }
        Verb::SetOwner(new) => (Answer::Done, state(value, left, new.clone())),
        Verb::Update(edit, expiry) => {
            let period = expiry.unwrap_or(default);
            let new = edit.of(value.as_ref().map(|old| old.0.as_str())).map(Text);
            (found(&new, period), state(new, period, owner))
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
    let old = before.as_ref().map(|before| before.value.clone());
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
pub(super) fn is_about(left: Period, expected: Period) -> bool {
    left <= expected + Period::SECOND && left > expected - Period::MINUTE
}

/// The sessions that a rotation to a given key can leave under the old and the new key, or `None` if the contract does
/// not allow this answer.
pub(super) fn leave_two(
    changes: &Fields,
    [old, new]: [&State; 2],
    answer: &Answer,
) -> Option<[State; 2]> {
    let verb = Verb::Rotate(changes.clone());
    // The default period is not used.
    let mut failures = failures(&verb, old, Period::ZERO);
    if new.is_some() {
        failures.push(Failure::KeyExists);
    }
    match (answer, old) {
        (Answer::Failed(failure), _) if failures.contains(failure) => {
            Some([old.clone(), new.clone()])
        }
        (Answer::Done, Some(old)) if failures.is_empty() => Some([None, rotated(old, changes)]),
        _ => None,
    }
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
