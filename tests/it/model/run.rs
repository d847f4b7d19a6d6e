//! A sequence of steps on a store, checked against the model.

use proptest::sample::Index;
use session_postgres::{Error, Key, Period, Session, ShardMap, Store, postgres::Client};

use super::{
    contract::{Held, Returned, State, after_some_order, done, found, leave_two, leaves, rotated},
    steps::{Fields, OWNERS, Step, Text, Verb},
};
use crate::support::key;

/// The known keys at the start of a sequence. They have no sessions.
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

/// A key and its possible sessions. There are several if a batch had two calls for the key.
pub(super) struct Known {
    pub(super) key: Key,
    pub(super) possible: Vec<State>,
}

/// A sequence that is being run.
pub(super) struct Run<'a> {
    pub(super) store: &'a dyn Store,
    /// Connections to the tables of all servers.
    tables: &'a mut [Client],
    /// The map, if there are several servers.
    map: Option<&'a ShardMap>,
    pub(super) known: Vec<Known>,
    default: Period,
    has_owners: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        store: &'a dyn Store,
        tables: &'a mut [Client],
        map: Option<&'a ShardMap>,
        has_owners: bool,
    ) -> Run<'a> {
        let keys = ODD_KEYS.map(key);
        if tables.is_empty() {
            keys.iter().for_each(|key| store.clear(key).unwrap());
            for owner in OWNERS {
                store.clear_owned(owner, None).unwrap();
            }
        }
        for client in &mut *tables {
            client.batch_execute("DELETE FROM session").unwrap();
        }
        let default = Period::WEEK;
        store.set_default_period(default);
        let known = keys.map(|key| Known {
            key,
            possible: vec![None],
        });
        Run {
            store,
            tables,
            map,
            known: known.into(),
            default,
            has_owners,
        }
    }

    pub(super) fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Generate(fields) => {
                let made = match fields {
                    Fields { owner: None, .. } => {
                        let fields = fields.borrow();
                        self.store.generate(fields.value, fields.expiry)
                    }
                    fields => self.store.generate_with(fields.borrow()),
                };
                self.made(fields, made)
            }
            Step::GenerateMany(calls) => {
                let fields: Vec<_> = calls.iter().map(Fields::borrow).collect();
                let results = self.store.generate_many(&fields);
                is_one_for_each(results.len(), calls.len())?;
                for (fields, made) in calls.iter().zip(results) {
                    self.made(fields, made)?;
                }
                Ok(())
            }
            Step::One(index, verb) => {
                let place = index.index(self.known.len());
                let returned = self.call(place, verb)?;
                self.explain(place, &[(verb, &returned)])
            }
            Step::Many(calls) => {
                let places: Vec<_> = calls
                    .iter()
                    .map(|(index, _)| index.index(self.known.len()))
                    .collect();
                let returned = self.call_many(&places, calls)?;
                is_one_for_each(returned.len(), calls.len())?;
                for place in 0..self.known.len() {
                    let own: Vec<_> = (0..calls.len())
                        .filter(|call| places[*call] == place)
                        .map(|call| (&calls[call].1, &returned[call]))
                        .collect();
                    self.explain(place, &own)?;
                }
                Ok(())
            }
            Step::RotateTo(from, to, changes) => {
                let places = [from, to].map(|index| index.index(self.known.len()));
                self.rotate_to(places, changes)
            }
            Step::Owned(owner) => self.list(owner),
            Step::ClearOwned(owner, except) => {
                let except = except.map(|index| index.index(self.known.len()));
                self.clear_owned(owner, except)
            }
            Step::ClearHandle(owner, index) => {
                self.clear_handle(owner, index.index(self.known.len()))
            }
            Step::Prune(limit) => self.prune(*limit),
            Step::SetDefaultPeriod(period) => {
                self.store.set_default_period(*period);
                self.default = *period;
                let kept = self.store.default_period();
                (kept == *period)
                    .then_some(())
                    .ok_or_else(|| format!("the default period was set to {period}, but is {kept}"))
            }
            Step::HoursPass(hours) => {
                self.hours_pass(*hours);
                Ok(())
            }
        }
    }

    /// Checks the result of a generate. Its key must be new.
    fn made(&mut self, fields: &Fields, result: Result<Key, Error>) -> Result<(), String> {
        // The same as an insert with a key that is known to be absent.
        let verb = Verb::Insert(fields.clone());
        let (result, place) = match result {
            Ok(key) => (Ok(()), Some(self.know(key, vec![None])?)),
            Err(e) => (Err(e), None),
        };
        let returned = Returned::of(result, done)?;
        match place {
            Some(place) => self.explain(place, &[(&verb, &returned)]),
            None => leaves(&verb, &None, self.default, &returned)
                .map(drop)
                .ok_or_else(|| format!("generate returned {:?} for {verb:?}", returned.answer)),
        }
    }

    fn know(&mut self, key: Key, possible: Vec<State>) -> Result<usize, String> {
        if self.known.iter().any(|known| known.key == key) {
            return Err(format!("the key {} was generated twice", key.as_str()));
        }
        self.known.push(Known { key, possible });
        Ok(self.known.len() - 1)
    }

    fn call(&mut self, place: usize, verb: &Verb) -> Result<Returned, String> {
        let (store, key) = (self.store, self.known[place].key.clone());
        match verb {
            Verb::Clear => Returned::of(store.clear(&key), done),
            Verb::Get => Returned::of(store.get(&key), found),
            Verb::Set(value, expiry) => Returned::of(store.set(&key, &value.0, *expiry), done),
            Verb::Insert(new) => {
                let new = new.borrow();
                Returned::of(store.insert(&key, new.value, new.expiry), done)
            }
            Verb::Touch(expiry) => Returned::of(store.touch(&key, *expiry), done),
            Verb::Renew(expiry) => Returned::of(store.renew(&key, *expiry), found),
            Verb::SetOwner(owner) => {
                let owner = owner.as_ref().map(|owner| owner.0.as_str());
                Returned::of(store.set_owner(&key, owner), done)
            }
            Verb::Rotate(changes) => {
                let moved = match changes {
                    Fields {
                        value: None,
                        expiry: None,
                        owner: None,
                    } => store.rotate(&key),
                    changes => store.rotate_with(&key, changes.borrow()),
                };
                if let Ok(new) = &moved {
                    // The new key has the session of the old one, which `explain` then removes.
                    let living = self.known[place].possible.iter().flatten();
                    let possible = living.map(|before| rotated(before, changes)).collect();
                    self.know(new.clone(), possible)?;
                }
                Returned::of(moved, done)
            }
            Verb::Update(edit, expiry) => {
                let mut seen = None;
                let result = store.update(&key, *expiry, &mut |old| {
                    seen = Some(old.map(|old| Text(old.to_owned())));
                    edit.of(old)
                });
                let returned = Returned::of(result, found)?;
                Ok(Returned { seen, ..returned })
            }
        }
    }

    fn call_many(
        &self,
        places: &[usize],
        calls: &[(Index, Verb)],
    ) -> Result<Vec<Returned>, String> {
        let (mut keys, mut sets, mut inserts, mut periods) = (vec![], vec![], vec![], vec![]);
        for (place, (_, verb)) in places.iter().zip(calls) {
            let key = &self.known[*place].key;
            match verb {
                Verb::Set(value, expiry) => sets.push((key, value.0.as_str(), *expiry)),
                Verb::Insert(new) => {
                    let new = new.borrow();
                    inserts.push((key, new.value, new.expiry));
                }
                Verb::Touch(expiry) | Verb::Renew(expiry) => periods.push((key, *expiry)),
                _ => keys.push(key),
            }
        }
        let all_done = |results: Vec<Result<(), Error>>| {
            results.into_iter().map(|r| Returned::of(r, done)).collect()
        };
        let all_found = |results: Vec<Result<Session, Error>>| {
            results
                .into_iter()
                .map(|r| Returned::of(r, found))
                .collect()
        };
        match calls.first().map(|(_, verb)| verb) {
            None => Ok(Vec::new()),
            Some(Verb::Clear) => all_done(self.store.clear_many(&keys)),
            Some(Verb::Set(..)) => all_done(self.store.set_many(&sets)),
            Some(Verb::Insert(_)) => all_done(self.store.insert_many(&inserts)),
            Some(Verb::Touch(_)) => all_done(self.store.touch_many(&periods)),
            Some(Verb::Get) => all_found(self.store.get_many(&keys)),
            Some(Verb::Renew(_)) => all_found(self.store.renew_many(&periods)),
            Some(Verb::Rotate(_) | Verb::SetOwner(_) | Verb::Update(..)) => {
                unreachable!("this verb has no batches")
            }
        }
    }

    /// Moves a session to another known key. Fails if no pair of their possible sessions explains the answer.
    fn rotate_to(&mut self, [old, new]: [usize; 2], changes: &Fields) -> Result<(), String> {
        let (from, to) = (&self.known[old], &self.known[new]);
        let moved = self.store.rotate_to(&from.key, &to.key, changes.borrow());
        let server = |key| self.map.and_then(|map| map.server_of(key));
        if server(&from.key) != server(&to.key) {
            return match moved {
                Err(Error::OtherServer) => Ok(()),
                other => Err(format!("{other:?} of a rotation to another server")),
            };
        }
        let answer = Returned::of(moved, done)?.answer;
        let mut after: [Vec<State>; 2] = Default::default();
        for from in &from.possible {
            for to in to.possible.iter().filter(|to| old != new || from == *to) {
                let left = leave_two(changes, [from, to], &answer);
                for (after, left) in after.iter_mut().zip(left.into_iter().flatten()) {
                    if !after.contains(&left) {
                        after.push(left);
                    }
                }
            }
        }
        if after[0].is_empty() {
            return Err(format!(
                "rotate_to returned {answer:?} for {changes:?} and one of {:?} and {:?}",
                from.possible, to.possible
            ));
        }
        let [left, moved] = after;
        self.known[new].possible = moved;
        self.known[old].possible = left;
        Ok(())
    }

    fn prune(&mut self, limit: u64) -> Result<(), String> {
        let before = self.rows("expire_date <= now()");
        let removed = self.store.prune(limit).map_err(|e| e.to_string())?;
        let left = match limit {
            u64::MAX => self.store.prune(limit).map_err(|e| e.to_string())?,
            _ => 0,
        };
        let is_right = before.is_none_or(|before| removed == before.min(limit));
        if !is_right || removed > limit || left > 0 {
            return Err(format!(
                "pruned {removed} and then {left} of {before:?} expired sessions, with limit {limit}"
            ));
        }
        Ok(())
    }

    /// Computes the possible sessions after these calls. Fails if no order of them explains what they
    /// returned.
    fn explain(&mut self, place: usize, calls: &[(&Verb, &Returned)]) -> Result<(), String> {
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

    /// Has no effect on a store without a table, because its clock cannot be changed.
    fn hours_pass(&mut self, hours: i32) {
        if self.tables.is_empty() {
            return;
        }
        let sql = "UPDATE session SET expire_date = expire_date - make_interval(hours => $1)";
        for client in &mut *self.tables {
            client.execute(sql, &[&hours]).unwrap();
        }
        for state in self.known.iter_mut().flat_map(|known| &mut known.possible) {
            *state = state.take().and_then(|before| {
                let left = before.left - Period::hours(hours.into());
                left.is_positive().then_some(Held { left, ..before })
            });
        }
    }

    /// Checks all sessions, with `get`, with `get_many` and with the lists of their owners. The table must have no
    /// others.
    pub(super) fn read_everything(&mut self) -> Result<(), String> {
        let everything: Vec<_> = (0..self.known.len()).collect();
        for place in &everything {
            let returned = self.call(*place, &Verb::Get)?;
            self.explain(*place, &[(&Verb::Get, &returned)])?;
        }
        let keys: Vec<_> = self.known.iter().map(|known| &known.key).collect();
        let found_many = self.store.get_many(&keys);
        is_one_for_each(found_many.len(), keys.len())?;
        for (place, result) in everything.into_iter().zip(found_many) {
            self.explain(place, &[(&Verb::Get, &Returned::of(result, found)?)])?;
        }
        if self.has_owners {
            for owner in OWNERS {
                self.list(&Text(owner.to_owned()))?;
            }
        }
        let rows = self.rows("expire_date > now()");
        let is_living = |known: &&Known| known.possible.iter().all(Option::is_some);
        let living = self.known.iter().filter(is_living).count();
        match rows {
            Some(rows) if rows != living as u64 => {
                Err(format!("{living} sessions, but {rows} rows"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the number of rows that match. `None` for a store without a table.
    fn rows(&mut self, condition: &str) -> Option<u64> {
        let sql = format!("SELECT count(*) FROM session WHERE {condition}");
        let mut count = |client: &mut Client| client.query_one(&sql, &[]).unwrap().get::<_, i64>(0);
        let rows: i64 = self.tables.iter_mut().map(&mut count).sum();
        (!self.tables.is_empty()).then_some(rows as u64)
    }
}

fn is_one_for_each(results: usize, calls: usize) -> Result<(), String> {
    if results == calls {
        Ok(())
    } else {
        Err(format!("{calls} calls gave {results} results"))
    }
}
