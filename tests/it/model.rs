//! Random sequences of calls, on a real table and on a model of the contract side by side.
//!
//! The model knows what [`Store`]'s documentation says and nothing of how a store does it. Time does
//! not race with a test: periods are over at once or long, and hours pass where a step says so.

use std::{cell::RefCell, fmt};

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestCaseError, TestError, TestRunner, contextualize_config},
};
use session_postgres::{
    Error, Key, MAX_PERIOD, MIN_PERIOD, MemoryStore, Period, Session, Store, postgres::Client,
};

use crate::support::{
    database::{ORIGINAL, Schema},
    key,
};

#[test]
fn a_pooled_store_does_as_the_model() {
    let schema = Schema::new();
    check(&schema.store(), Some(schema.client()));
}

#[test]
fn a_store_on_the_legacy_table_does_as_the_model() {
    let schema = Schema::new();
    schema.run(ORIGINAL);
    let store = schema.builder().from_pool(schema.pool(1));
    check(&store, Some(schema.client()));
}

#[test]
fn an_unprepared_store_does_as_the_model() {
    let schema = Schema::new();
    let store = schema.builder().prepared(false).from_pool(schema.pool(1));
    store.create_table().unwrap();
    check(&store, Some(schema.client()));
}

#[test]
fn a_store_in_memory_does_as_the_model() {
    check(&MemoryStore::new(), None);
}

/// Runs random sequences on the store; `table` is a client beside it, where there is a table.
fn check(store: &dyn Store, table: Option<Client>) {
    let config = contextualize_config(Config {
        cases: 96,
        failure_persistence: None,
        ..Config::default()
    });
    let table = RefCell::new(table);
    let outcome = TestRunner::new(config).run(&vec(step(), 1..40), |steps| {
        let mut table = table.borrow_mut();
        let mut run = Run::new(store, table.as_mut());
        for (place, step) in steps.iter().enumerate() {
            run.step(step)
                .map_err(|e| TestCaseError::fail(format!("step {place}: {e}")))?;
        }
        run.read_everything().map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => panic!("{reason}\nof these steps: {steps:#?}"),
        Err(aborted) => panic!("{aborted}"),
    }
}

// ---- The steps ----

type Expiry = Option<Period>;

/// A value, shown without the most of it where it is large.
#[derive(Clone, PartialEq)]
struct Text(String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..100) {
            Some(start) if self.0.len() > 200 => {
                write!(f, "{start:?} and so on, {} bytes", self.0.len())
            }
            _ => self.0.fmt(f),
        }
    }
}

/// What the closure of an update does.
#[derive(Clone, Debug)]
enum Edit {
    Keep,
    Replace(Text),
    Append(Text),
}

impl Edit {
    fn of(&self, old: Option<&str>) -> Option<String> {
        match self {
            Edit::Keep => None,
            Edit::Replace(new) => Some(new.0.clone()),
            Edit::Append(more) => Some(old.unwrap_or("nothing").to_owned() + &more.0),
        }
    }
}

/// A call on one session.
#[derive(Clone, Debug)]
enum Verb {
    Clear,
    Get,
    Set(Text, Expiry),
    Insert(Option<Text>, Expiry),
    Touch(Expiry),
    Rotate,
    Update(Edit, Expiry),
}

#[derive(Clone, Debug)]
enum Step {
    Generate(Option<Text>, Expiry),
    GenerateMany(Vec<(Option<Text>, Expiry)>),
    /// On one of the keys known by then.
    One(Index, Verb),
    /// All of one kind.
    Many(Vec<(Index, Verb)>),
    SetDefaultPeriod(Period),
    /// Done to the table, behind the store's back.
    HoursPass(i32),
}

/// Keys that nothing was made under when a sequence begins.
const ODD_KEYS: [&str; 8] = [
    "a",
    "A",
    "'",
    "\"",
    "$1",
    "%_\\",
    "123456789012345678901234567890123456789",
    "1234567890123456789012345678901234567890",
];

const SOON: Period = Period::minutes(90);

fn text() -> impl Strategy<Value = Text> {
    let odd = prop::sample::select(vec![
        "",
        " ",
        "lobster",
        "'; DROP TABLE session; --",
        "\"quoted\" \\N \\x00 \\ $1 {table}",
        "{NULL,\"a\\\"b\"}",
        "NULL",
        "żółw 漢字 🦞 e\u{301} \u{202e}",
        "lob\0ster",
        "\0",
    ]);
    prop_oneof![
        30 => odd.prop_map(str::to_owned),
        15 => vec(any::<char>(), 0..20).prop_map(String::from_iter),
        1 => Just("0123456789abcdef".repeat(1 << 16)),
    ]
    .prop_map(Text)
}

/// Hours pass whole: none of these is ever just about to end.
fn period() -> impl Strategy<Value = Period> {
    prop_oneof![
        6 => Just(SOON),
        3 => Just(Period::DAY + SOON),
        1 => Just(MAX_PERIOD),
        1 => Just(Period::ZERO),
        1 => Just(Period::milliseconds(-1)),
        1 => Just(MIN_PERIOD),
        1 => Just(MAX_PERIOD + Period::NANOSECOND),
        1 => Just(MIN_PERIOD - Period::NANOSECOND),
        1 => prop::sample::select(vec![Period::MAX, Period::MIN]),
    ]
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop::option::of(period())
}

fn set() -> impl Strategy<Value = Verb> {
    (text(), expiry()).prop_map(|(value, expiry)| Verb::Set(value, expiry))
}

fn insert() -> impl Strategy<Value = Verb> {
    (prop::option::of(text()), expiry()).prop_map(|(value, expiry)| Verb::Insert(value, expiry))
}

fn touch() -> impl Strategy<Value = Verb> {
    expiry().prop_map(Verb::Touch)
}

fn update() -> impl Strategy<Value = Verb> {
    let edit = prop_oneof![
        Just(Edit::Keep),
        text().prop_map(Edit::Replace),
        text().prop_map(Edit::Append),
    ];
    (edit, expiry()).prop_map(|(edit, expiry)| Verb::Update(edit, expiry))
}

fn one(verb: impl Strategy<Value = Verb>) -> impl Strategy<Value = Step> {
    (any::<Index>(), verb).prop_map(|(index, verb)| Step::One(index, verb))
}

fn many(verb: impl Strategy<Value = Verb>) -> impl Strategy<Value = Step> {
    vec((any::<Index>(), verb), 0..7).prop_map(Step::Many)
}

fn step() -> impl Strategy<Value = Step> {
    let new = || (prop::option::of(text()), expiry());
    prop_oneof![
        2 => new().prop_map(|(value, expiry)| Step::Generate(value, expiry)),
        1 => vec(new(), 0..4).prop_map(Step::GenerateMany),
        1 => one(Just(Verb::Clear)),
        3 => one(Just(Verb::Get)),
        3 => one(set()),
        4 => one(insert()),
        2 => one(touch()),
        2 => one(Just(Verb::Rotate)),
        3 => one(update()),
        1 => many(Just(Verb::Clear)),
        2 => many(Just(Verb::Get)),
        3 => many(set()),
        4 => many(insert()),
        2 => many(touch()),
        1 => period().prop_map(Step::SetDefaultPeriod),
        2 => (1..3).prop_map(Step::HoursPass),
    ]
}

// ---- The model ----

/// A session as the contract knows it: absent, or a value that may be unset and what is left of its
/// life.
type State = Option<(Option<Text>, Period)>;

/// An error, by its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    NotFound,
    NotSet,
    KeyExists,
    InvalidValue,
    PeriodOutOfRange,
}

/// What a call says.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Done,
    Found(Text, Period),
    Failed(Fault),
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
fn leaves(verb: &Verb, before: &State, default: Period, said: &Said) -> Option<State> {
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
fn after_some_order(before: &State, calls: &[(&Verb, &Said)], default: Period) -> Vec<State> {
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

// ---- Both side by side ----

/// What a call on the store said, and what the closure of an update was given, if it ran.
#[derive(Clone, Debug)]
struct Said {
    answer: Answer,
    seen: Option<Option<Text>>,
}

impl Said {
    fn of<T>(result: Result<T, Error>, answer: impl FnOnce(T) -> Answer) -> Result<Said, String> {
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

fn done<T>(_: T) -> Answer {
    Answer::Done
}

fn found(session: Session) -> Answer {
    Answer::Found(Text(session.value), session.period)
}

/// A key, and all that may be under it: more than one state where a batch named it twice.
struct Known {
    key: Key,
    possible: Vec<State>,
}

/// One sequence on its way.
struct Run<'a> {
    store: &'a dyn Store,
    table: Option<&'a mut Client>,
    known: Vec<Known>,
    default: Period,
}

impl<'a> Run<'a> {
    fn new(store: &'a dyn Store, mut table: Option<&'a mut Client>) -> Run<'a> {
        let keys = ODD_KEYS.map(key);
        match &mut table {
            Some(client) => client.batch_execute("DELETE FROM session").unwrap(),
            None => keys.iter().for_each(|key| store.clear(key).unwrap()),
        }
        let default = Period::WEEK;
        store.set_default_period(default);
        let known = keys.map(|key| Known {
            key,
            possible: vec![None],
        });
        Run {
            store,
            table,
            known: known.into(),
            default,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Generate(value, expiry) => {
                let value = value.as_ref().map(|value| value.0.as_str());
                let made = self.store.generate(value, *expiry);
                self.made(value, *expiry, made)
            }
            Step::GenerateMany(calls) => {
                let calls: Vec<_> = calls
                    .iter()
                    .map(|(value, expiry)| (value.as_ref().map(|v| v.0.as_str()), *expiry))
                    .collect();
                let results = self.store.generate_many(&calls);
                is_one_for_each(results.len(), calls.len())?;
                for ((value, expiry), made) in calls.into_iter().zip(results) {
                    self.made(value, expiry, made)?;
                }
                Ok(())
            }
            Step::One(index, verb) => {
                let place = index.index(self.known.len());
                let said = self.call(place, verb)?;
                self.explain(place, &[(verb, &said)])
            }
            Step::Many(calls) => {
                let places: Vec<_> = calls
                    .iter()
                    .map(|(index, _)| index.index(self.known.len()))
                    .collect();
                let said = self.call_many(&places, calls)?;
                is_one_for_each(said.len(), calls.len())?;
                for place in 0..self.known.len() {
                    let own: Vec<_> = (0..calls.len())
                        .filter(|call| places[*call] == place)
                        .map(|call| (&calls[call].1, &said[call]))
                        .collect();
                    self.explain(place, &own)?;
                }
                Ok(())
            }
            Step::SetDefaultPeriod(period) => {
                self.store.set_default_period(*period);
                self.default = *period;
                let kept = self.store.default_period();
                (kept == *period).then_some(()).ok_or_else(|| {
                    format!("the default was set to {period}, and is {kept} afterwards")
                })
            }
            Step::HoursPass(hours) => {
                self.hours_pass(*hours);
                Ok(())
            }
        }
    }

    /// A new session must be under a key that nobody had.
    fn made(
        &mut self,
        value: Option<&str>,
        expiry: Expiry,
        result: Result<Key, Error>,
    ) -> Result<(), String> {
        // As if its key had been known, and absent.
        let verb = Verb::Insert(value.map(|value| Text(value.to_owned())), expiry);
        let (result, place) = match result {
            Ok(key) => (Ok(()), Some(self.know(key, vec![None])?)),
            Err(e) => (Err(e), None),
        };
        let said = Said::of(result, done)?;
        match place {
            Some(place) => self.explain(place, &[(&verb, &said)]),
            None => leaves(&verb, &None, self.default, &said)
                .map(drop)
                .ok_or_else(|| format!("generating said {:?} to {verb:?}", said.answer)),
        }
    }

    fn know(&mut self, key: Key, possible: Vec<State>) -> Result<usize, String> {
        if self.known.iter().any(|known| known.key == key) {
            return Err(format!("{} was made twice", key.as_str()));
        }
        self.known.push(Known { key, possible });
        Ok(self.known.len() - 1)
    }

    fn call(&mut self, place: usize, verb: &Verb) -> Result<Said, String> {
        let (store, key) = (self.store, self.known[place].key.clone());
        match verb {
            Verb::Clear => Said::of(store.clear(&key), done),
            Verb::Get => Said::of(store.get(&key), found),
            Verb::Set(value, expiry) => Said::of(store.set(&key, &value.0, *expiry), done),
            Verb::Insert(value, expiry) => {
                let value = value.as_ref().map(|value| value.0.as_str());
                Said::of(store.insert(&key, value, *expiry), done)
            }
            Verb::Touch(expiry) => Said::of(store.touch(&key, *expiry), done),
            Verb::Rotate => {
                let moved = store.rotate(&key);
                if let Ok(new) = &moved {
                    // All that is under the new key was under the old; `explain` empties that.
                    let possible = self.known[place].possible.clone();
                    let living = possible.into_iter().filter(Option::is_some);
                    self.know(new.clone(), living.collect())?;
                }
                Said::of(moved, done)
            }
            Verb::Update(edit, expiry) => {
                let mut seen = None;
                let result = store.update(&key, *expiry, &mut |old| {
                    seen = Some(old.map(|old| Text(old.to_owned())));
                    edit.of(old)
                });
                let said = Said::of(result, found)?;
                Ok(Said { seen, ..said })
            }
        }
    }

    fn call_many(&self, places: &[usize], calls: &[(Index, Verb)]) -> Result<Vec<Said>, String> {
        let (mut keys, mut sets, mut inserts, mut touches) = (vec![], vec![], vec![], vec![]);
        for (place, (_, verb)) in places.iter().zip(calls) {
            let key = &self.known[*place].key;
            match verb {
                Verb::Set(value, expiry) => sets.push((key, value.0.as_str(), *expiry)),
                Verb::Insert(value, expiry) => {
                    inserts.push((key, value.as_ref().map(|v| v.0.as_str()), *expiry));
                }
                Verb::Touch(expiry) => touches.push((key, *expiry)),
                _ => keys.push(key),
            }
        }
        let all_done = |results: Vec<Result<(), Error>>| {
            results.into_iter().map(|r| Said::of(r, done)).collect()
        };
        match calls.first().map(|(_, verb)| verb) {
            None => Ok(Vec::new()),
            Some(Verb::Clear) => all_done(self.store.clear_many(&keys)),
            Some(Verb::Set(..)) => all_done(self.store.set_many(&sets)),
            Some(Verb::Insert(..)) => all_done(self.store.insert_many(&inserts)),
            Some(Verb::Touch(_)) => all_done(self.store.touch_many(&touches)),
            Some(Verb::Get) => {
                let results = self.store.get_many(&keys);
                results.into_iter().map(|r| Said::of(r, found)).collect()
            }
            Some(Verb::Rotate | Verb::Update(..)) => unreachable!("there are none for many"),
        }
    }

    /// Takes over what the calls may have left under the key, or says that no order explains them.
    fn explain(&mut self, place: usize, calls: &[(&Verb, &Said)]) -> Result<(), String> {
        let known = &mut self.known[place];
        let mut after: Vec<State> = Vec::new();
        for before in &known.possible {
            for state in after_some_order(before, calls, self.default) {
                if !after.contains(&state) {
                    after.push(state);
                }
            }
        }
        if after.is_empty() {
            return Err(format!(
                "no order explains {calls:?} on {:?}, which was one of {:?}",
                known.key.as_str(),
                known.possible
            ));
        }
        known.possible = after;
        Ok(())
    }

    /// Does nothing to a store without a table, for its clock cannot be set.
    fn hours_pass(&mut self, hours: i32) {
        let Some(client) = &mut self.table else {
            return;
        };
        let sql = "UPDATE session SET expire_date = expire_date - make_interval(hours => $1)";
        client.execute(sql, &[&hours]).unwrap();
        for state in self.known.iter_mut().flat_map(|known| &mut known.possible) {
            *state = state.take().and_then(|(value, left)| {
                let left = left - Period::hours(hours.into());
                left.is_positive().then_some((value, left))
            });
        }
    }

    /// Compares all sessions, read by one and many; in the table there must be no others.
    fn read_everything(&mut self) -> Result<(), String> {
        let everything: Vec<_> = (0..self.known.len()).collect();
        for place in &everything {
            let said = self.call(*place, &Verb::Get)?;
            self.explain(*place, &[(&Verb::Get, &said)])?;
        }
        let keys: Vec<_> = self.known.iter().map(|known| &known.key).collect();
        let found_many = self.store.get_many(&keys);
        is_one_for_each(found_many.len(), keys.len())?;
        for (place, result) in everything.into_iter().zip(found_many) {
            self.explain(place, &[(&Verb::Get, &Said::of(result, found)?)])?;
        }
        let Some(client) = &mut self.table else {
            return Ok(());
        };
        let sql = "SELECT count(*) FROM session WHERE expire_date > now()";
        let rows: i64 = client.query_one(sql, &[]).unwrap().get(0);
        let is_living = |known: &&Known| known.possible.iter().all(Option::is_some);
        let living = self.known.iter().filter(is_living).count();
        if rows != living as i64 {
            return Err(format!("{living} sessions live, in {rows} rows"));
        }
        Ok(())
    }
}

fn is_one_for_each(results: usize, calls: usize) -> Result<(), String> {
    if results == calls {
        Ok(())
    } else {
        Err(format!("{calls} calls gave {results} results"))
    }
}
