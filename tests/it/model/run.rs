//! A sequence of steps on a store, checked against the model.

use proptest::sample::Index;
use session_postgres::{Error, Key, Period, Store, postgres::Client};

use super::{
    contract::{Said, State, after_some_order, done, found, leaves},
    steps::{Expiry, Step, Text, Verb},
};
use crate::support::key;

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

/// A key, and all that may be under it: more than one state where a batch named it twice.
struct Known {
    key: Key,
    possible: Vec<State>,
}

/// One sequence on its way.
pub(super) struct Run<'a> {
    store: &'a dyn Store,
    table: Option<&'a mut Client>,
    known: Vec<Known>,
    default: Period,
}

impl<'a> Run<'a> {
    pub(super) fn new(store: &'a dyn Store, mut table: Option<&'a mut Client>) -> Run<'a> {
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

    pub(super) fn step(&mut self, step: &Step) -> Result<(), String> {
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
    pub(super) fn read_everything(&mut self) -> Result<(), String> {
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
