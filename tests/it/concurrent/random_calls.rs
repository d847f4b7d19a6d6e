//! Random calls of many threads on few keys must be linearizable.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use session_postgres::{Error, Key, MemoryStore, OwnedSession, Period, SessionFields, Store};

use super::{
    THREADS, at_once,
    checker::{Answer, Event, Verb, fits_some_order},
    owners::{CallForOwner, Effect, Known, owner_of},
};
use crate::support::{
    backends,
    database::Schema,
    random::{Random, seed},
    sharded::Schemas,
};

/// A round of calls of all threads.
struct Round<'a> {
    store: &'a dyn Store,
    known: Mutex<Vec<Known>>,
    events: Mutex<Vec<Event>>,
    for_owners: Mutex<Vec<CallForOwner>>,
    clock: AtomicU64,
    values: AtomicUsize,
}

const KEYS: usize = 2;
const CALLS: usize = 5;

impl<'a> Round<'a> {
    fn run(store: &'a dyn Store, seed: u64) -> Round<'a> {
        let known = |family| Known {
            key: Key::generate().unwrap(),
            family,
            since: 0,
        };
        let round = Round {
            store,
            known: Mutex::new((0..KEYS).map(known).collect()),
            events: Mutex::default(),
            for_owners: Mutex::default(),
            clock: AtomicU64::new(0),
            values: AtomicUsize::new(0),
        };
        for key in 0..KEYS {
            let value = Some(round.new_value());
            round.call(THREADS, key, Verb::Insert { value, ends: false });
        }
        at_once(THREADS, |thread| {
            let mut random = Random(seed ^ ((thread as u64) << 56));
            for _ in 0..CALLS {
                round.random_call(thread, &mut random);
            }
        });
        let keys = round.known.lock().unwrap().len();
        for key in 0..keys {
            round.call(THREADS, key, Verb::Get);
        }
        for family in 0..KEYS {
            round.call_for_owner(THREADS, family, Verb::List);
        }
        round
    }

    /// Panics with the seed and all calls if no order of them explains the answers.
    fn check(&self, seed: u64) {
        let known = self.known.lock().unwrap();
        let for_owners = self.for_owners.lock().unwrap();
        for call in &*for_owners {
            call.check_list(&known);
        }
        for family in 0..KEYS {
            let mut events = self.events.lock().unwrap().clone();
            events.extend(for_owners.iter().flat_map(|call| call.events(&known)));
            events.retain(|event| known[event.key].family == family);
            events.sort_by_key(|event| event.began);
            if !fits_some_order(&events, known.len()) {
                let history: String = events.iter().map(|event| format!("{event}\n")).collect();
                panic!("no order explains this round of seed {seed}:\n{history}");
            }
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn new_value(&self) -> u32 {
        self.values.fetch_add(1, Ordering::Relaxed) as u32
    }

    fn random_call(&self, thread: usize, random: &mut Random) {
        let keys = self.known.lock().unwrap().len();
        let value = self.new_value();
        let ends = random.one_in(6);
        let verb = match random.below(18) {
            0 | 1 => Verb::Get,
            2 => Verb::Clear,
            3 | 4 => Verb::Set { value, ends },
            5 | 6 => {
                let value = (!random.one_in(4)).then_some(value);
                Verb::Insert { value, ends }
            }
            7 => Verb::Touch { ends },
            8 => Verb::Rotate,
            9 => Verb::UpdateToNone,
            10 | 11 => Verb::Update { value, ends },
            12 => Verb::Renew,
            13 | 14 => Verb::SetOwner {
                is_owned: !random.one_in(3),
            },
            15 => Verb::Login { value, ends },
            16 => Verb::ClearOwned,
            _ => Verb::List,
        };
        match verb {
            Verb::ClearOwned | Verb::List => {
                self.call_for_owner(thread, random.below(KEYS), verb);
            }
            Verb::Rotate
            | Verb::Login { .. }
            | Verb::SetOwner { .. }
            | Verb::Update { .. }
            | Verb::UpdateToNone => self.call(thread, random.below(keys), verb),
            _ if random.one_in(3) => {
                let calls = 1 + random.below(3);
                let keys: Vec<_> = (0..calls).map(|_| random.below(keys)).collect();
                self.call_many(thread, &keys, verb);
            }
            _ => self.call(thread, random.below(keys), verb),
        }
    }

    fn key(&self, key: usize) -> Key {
        self.known.lock().unwrap()[key].key.clone()
    }

    fn call(&self, thread: usize, key: usize, verb: Verb) {
        let (store, name) = (self.store, self.key(key));
        let began = self.now();
        let result = match verb {
            Verb::Get => store.get(&name).map(|found| value_of(&found.value)),
            Verb::Clear => store.clear(&name).map(done),
            Verb::Set { value, ends } => {
                let value = value.to_string();
                store.set(&name, &value, expiry(ends)).map(done)
            }
            Verb::Insert { value, ends } => {
                let value = value.map(|value| value.to_string());
                let inserted = store.insert(&name, value.as_deref(), expiry(ends));
                inserted.map(done)
            }
            Verb::Touch { ends } => store.touch(&name, expiry(ends)).map(done),
            Verb::Renew => store
                .renew(&name, RENEWED)
                .map(|found| value_of(&found.value)),
            Verb::Rotate => {
                let moved = store.rotate(&name);
                moved.map(|new| self.moved(new, key, began))
            }
            Verb::Login { value, ends } => {
                let (value, owner) = (value.to_string(), self.owner_of(key));
                let login = SessionFields {
                    value: Some(&value),
                    expiry: expiry(ends),
                    owner: Some(&owner),
                };
                let moved = store.rotate_with(&name, login);
                moved.map(|new| self.moved(new, key, began))
            }
            Verb::SetOwner { is_owned } => {
                let owner = is_owned.then(|| self.owner_of(key));
                store.set_owner(&name, owner.as_deref()).map(done)
            }
            Verb::Update { value, ends } => {
                let mut old = None;
                let updated = store.update(&name, expiry(ends), &mut |given| {
                    old = given.map(|given| given.parse().unwrap());
                    Some(value.to_string())
                });
                updated.map(|_| Answer::Edited(old))
            }
            Verb::UpdateToNone => {
                let kept = store.update(&name, None, &mut |_| None);
                kept.map(|kept| value_of(&kept.value))
            }
            Verb::Generate { .. } | Verb::ClearOwned | Verb::List => {
                unreachable!("this verb is not for a known key")
            }
        };
        let ended = self.now();
        let answer = answer(result);
        self.record(Event {
            thread,
            key,
            verb,
            answer,
            began,
            ended,
        });
    }

    /// Adds the key to which a call has moved a session.
    fn moved(&self, key: Key, from: usize, since: u64) -> Answer {
        let mut known = self.known.lock().unwrap();
        let family = known[from].family;
        known.push(Known { key, family, since });
        Answer::Moved(known.len() - 1)
    }

    /// The owner of a key's family.
    fn owner_of(&self, key: usize) -> String {
        let known = self.known.lock().unwrap();
        owner_of(&known, known[key].family)
    }

    /// Calls a verb for all sessions of the owner of a family.
    fn call_for_owner(&self, thread: usize, family: usize, verb: Verb) {
        let owner = owner_of(&self.known.lock().unwrap(), family);
        let began = self.now();
        let effect = match verb {
            Verb::List => {
                let listed = self.store.owned(&owner).unwrap().into_iter();
                let entry = |session: OwnedSession| {
                    let value = session.value.map(|value| value.parse().unwrap());
                    (session.handle, value)
                };
                Effect::Listed(listed.map(entry).collect())
            }
            _ => {
                self.store.clear_owned(&owner, None).unwrap();
                Effect::Cleared(Answer::Done)
            }
        };
        let ended = self.now();
        self.for_owners.lock().unwrap().push(CallForOwner {
            thread,
            family,
            effect,
            began,
            ended,
        });
    }

    /// Calls one verb for many keys in a batch. The effects of its calls need not be simultaneous.
    fn call_many(&self, thread: usize, keys: &[usize], verb: Verb) {
        let store = self.store;
        let names: Vec<_> = keys.iter().map(|key| self.key(*key)).collect();
        let names: Vec<_> = names.iter().collect();
        // Each call writes another value.
        let verbs: Vec<_> = keys
            .iter()
            .map(|_| match verb {
                Verb::Set { ends, .. } => Verb::Set {
                    value: self.new_value(),
                    ends,
                },
                Verb::Insert { value, ends } => {
                    let value = value.map(|_| self.new_value());
                    Verb::Insert { value, ends }
                }
                other => other,
            })
            .collect();
        let values: Vec<_> = verbs
            .iter()
            .map(|verb| match verb {
                Verb::Set { value, .. } => Some(value.to_string()),
                Verb::Insert { value, .. } => value.map(|value| value.to_string()),
                _ => None,
            })
            .collect();
        let values = values.iter().map(|value| value.as_deref());
        let named = names.iter().copied();

        let began = self.now();
        let results: Vec<_> = match verb {
            Verb::Get => {
                let found = store.get_many(&names).into_iter();
                found
                    .map(|found| found.map(|found| value_of(&found.value)))
                    .collect()
            }
            Verb::Renew => {
                let calls: Vec<_> = named.map(|key| (key, RENEWED)).collect();
                let found = store.renew_many(&calls).into_iter();
                found
                    .map(|found| found.map(|found| value_of(&found.value)))
                    .collect()
            }
            Verb::Clear => all_done(store.clear_many(&names)),
            Verb::Set { ends, .. } => {
                let calls = named.zip(values);
                let calls: Vec<_> = calls
                    .map(|(key, value)| (key, value.unwrap(), expiry(ends)))
                    .collect();
                all_done(store.set_many(&calls))
            }
            Verb::Insert { ends, .. } => {
                let calls = named.zip(values);
                let calls: Vec<_> = calls
                    .map(|(key, value)| (key, value, expiry(ends)))
                    .collect();
                all_done(store.insert_many(&calls))
            }
            Verb::Touch { ends } => {
                let calls: Vec<_> = named.map(|key| (key, expiry(ends))).collect();
                all_done(store.touch_many(&calls))
            }
            _ => unreachable!("this verb has no batches"),
        };
        let ended = self.now();
        assert_eq!(results.len(), keys.len());
        for ((key, verb), result) in keys.iter().zip(verbs).zip(results) {
            let (key, answer) = (*key, answer(result));
            self.record(Event {
                thread,
                key,
                verb,
                answer,
                began,
                ended,
            });
        }
    }

    fn record(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

/// A renewal writes if another call wrote last, because that has given the session one hour.
const RENEWED: Option<Period> = Some(Period::hours(2));

fn expiry(ends: bool) -> Option<Period> {
    Some(if ends { Period::ZERO } else { Period::HOUR })
}

fn done((): ()) -> Answer {
    Answer::Done
}

fn all_done(results: Vec<Result<(), Error>>) -> Vec<Result<Answer, Error>> {
    results.into_iter().map(|result| result.map(done)).collect()
}

fn value_of(text: &str) -> Answer {
    Answer::Value(text.parse().unwrap())
}

fn answer(result: Result<Answer, Error>) -> Answer {
    match result {
        Ok(answer) => answer,
        Err(Error::NotFound) => Answer::NotFound,
        Err(Error::NotSet) => Answer::NotSet,
        Err(Error::KeyExists) => Answer::KeyExists,
        Err(other) => panic!("no call may fail like this: {other}"),
    }
}

fn check_random_calls(store: &dyn Store) {
    let first = seed();
    for seed in (0..150).map(|round| first.wrapping_add(round)) {
        Round::run(store, seed).check(seed);
    }
}

#[test]
fn calls_on_a_pooled_store_are_linearizable() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(schema.pool(THREADS as u32));
    store.create_table().unwrap();
    check_random_calls(&store);
}

#[test]
fn calls_on_a_store_with_a_single_client_are_linearizable() {
    check_random_calls(&*backends::single_client().store);
}

#[test]
fn calls_on_a_store_in_memory_are_linearizable() {
    check_random_calls(&MemoryStore::new());
}

#[test]
fn calls_on_three_servers_are_linearizable() {
    check_random_calls(&Schemas::new().blocking(THREADS as u32));
}

#[test]
fn calls_on_facades_for_three_servers_are_linearizable() {
    check_random_calls(&Schemas::new().facades(THREADS as u32));
}
