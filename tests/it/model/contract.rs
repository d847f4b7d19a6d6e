//! The model: what a call may answer, and what it leaves.

use session_postgres::{Error, MAX_PERIOD, MIN_PERIOD, Period, Session};

use super::steps::{Edit, Text, Verb};

/// A session as the contract knows it: absent, or a value that may be unset and what is left of its
/// life.
pub(super) type State = Option<(Option<Text>, Period)>;

/// An error, by its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    NotFound,
    NotSet,
    KeyExists,
    InvalidValue,
    PeriodOutOfRange,
}

/// What a call says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Done,
    Found(Text, Period),
    Failed(Fault),
}

/// What a call on the store said, and what the closure of an update was given, if it ran.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) answer: Answer,
    pub(super) seen: Option<Option<Text>>,
}

impl Said {
    pub(super) fn of<T>(
        result: Result<T, Error>,
        answer: impl FnOnce(T) -> Answer,
    ) -> Result<Said, String> {
        let answer = match result {
            Ok(done) => answer(done),
            Err(Error::NotFound) => Answer::Failed(Fault::NotFound),
            Err(Error::NotSet) => Answer::Failed(Fault::NotSet),
            Err(Error::KeyExists) => Answer::Failed(Fault::KeyExists),
            Err(Error::InvalidValue(_)) => Answer::Failed(Fault::InvalidValue),
            Err(Error::PeriodOutOfRange { .. }) => Answer::Failed(Fault::PeriodOutOfRange),
            Err(other) => return Err(format!("no call may fail so: {other}")),
        };
        Ok(Said { answer, seen: None })
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

/// Why a write is refused whatever the session is.
fn faults_of_write(value: Option<&Text>, period: Period) -> Vec<Fault> {
    let mut faults = Vec::new();
    if value.is_some_and(|value| value.0.contains('\0')) {
        faults.push(Fault::InvalidValue);
    }
    if !(MIN_PERIOD..=MAX_PERIOD).contains(&period) {
        faults.push(Fault::PeriodOutOfRange);
    }
    faults
}

/// Why a call must fail on such a session. Where there are several reasons, it may give any of them.
fn faults(verb: &Verb, before: &State, default: Period) -> Vec<Fault> {
    let mut faults = match verb {
        Verb::Clear | Verb::Get | Verb::Rotate => Vec::new(),
        Verb::Touch(expiry) => faults_of_write(None, expiry.unwrap_or(default)),
        Verb::Set(value, expiry) => faults_of_write(Some(value), expiry.unwrap_or(default)),
        Verb::Insert(value, expiry) => faults_of_write(value.as_ref(), expiry.unwrap_or(default)),
        Verb::Update(edit, expiry) => {
            let old = before.as_ref().map(|(value, _)| value.as_ref());
            let new = old.and_then(|old| edit.of(old.map(|old| old.0.as_str())));
            faults_of_write(new.map(Text).as_ref(), expiry.unwrap_or(default))
        }
    };
    match (verb, before) {
        (Verb::Clear | Verb::Insert(..), None) => {}
        (_, None) => faults.push(Fault::NotFound),
        (Verb::Insert(..), Some(_)) => faults.push(Fault::KeyExists),
        (Verb::Get | Verb::Update(Edit::Keep, _), Some((None, _))) => faults.push(Fault::NotSet),
        _ => {}
    }
    faults
}

/// What a call that must not fail answers, and what it leaves under the key.
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

/// What a call leaves under its key, if the contract lets it answer so on such a session.
pub(super) fn leaves(verb: &Verb, before: &State, default: Period, said: &Said) -> Option<State> {
    let old = before.as_ref().map(|(value, _)| value.clone());
    let faults = faults(verb, before, default);
    // Only a period that is refused anyway may keep the closure of an update from being run.
    let is_update = matches!(verb, Verb::Update(..));
    let is_early = said.answer == Answer::Failed(Fault::PeriodOutOfRange);
    match said.seen {
        None if is_update && before.is_some() && !is_early => return None,
        Some(_) if said.seen != old => return None,
        _ => {}
    }
    if !faults.is_empty() {
        let is_one = faults.iter().any(|f| said.answer == Answer::Failed(*f));
        return is_one.then(|| before.clone());
    }
    let (answer, after) = effect(verb, before, default);
    let fits = match (&said.answer, &answer) {
        (Answer::Found(value, left), Answer::Found(expected, period)) => {
            value == expected && is_about(*left, *period)
        }
        (said, expected) => said == expected,
    };
    fits.then_some(after)
}

/// The table keeps hundredths of a second, and rounds; a sequence takes its time.
fn is_about(left: Period, expected: Period) -> bool {
    left <= expected + Period::SECOND && left > expected - Period::MINUTE
}

/// All that can be left once these calls on one key have run, in whichever order gives what they
/// said.
pub(super) fn after_some_order(
    before: &State,
    calls: &[(&Verb, &Said)],
    default: Period,
) -> Vec<State> {
    if calls.is_empty() {
        return vec![before.clone()];
    }
    let mut possible = Vec::new();
    for first in 0..calls.len() {
        let mut rest = calls.to_vec();
        let (verb, said) = rest.remove(first);
        if let Some(after) = leaves(verb, before, default, said) {
            possible.extend(after_some_order(&after, &rest, default));
        }
    }
    possible
}
