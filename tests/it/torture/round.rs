//! A round: its calls, their answers, and the check that they are linearizable.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use session_postgres::Key;

use super::short_lived::ShortLived;
use crate::concurrent::{
    checker::{Answer, Event, Verb, fits_within},
    owners::{CallForOwner, Known, owner_of},
};

/// The number of families of keys. No call concerns two families, so each is checked separately.
pub(super) const FAMILIES: usize = 3;

/// The number of steps after which the search for an order of a family gives up.
const MOST_STEPS: usize = 200_000;

/// The number of a thread that is no task of the round.
const NO_TASK: usize = 99;

/// A session in the store.
pub(super) struct Stored {
    pub(super) value: Option<String>,
    /// Its owner, if the reader knows it.
    pub(super) owner: Option<Option<String>>,
}

pub(super) struct Round {
    known: Mutex<Vec<Known>>,
    events: Mutex<Vec<Event>>,
    for_owners: Mutex<Vec<CallForOwner>>,
    clock: AtomicU64,
    values: AtomicU32,
    /// Results that are wrong in any order of the calls.
    violations: Mutex<Vec<String>>,
    short_lived: Mutex<Vec<Arc<ShortLived>>>,
}

impl Round {
    /// A round with new keys and a short-lived session.
    pub(super) fn new(short_lived: ShortLived) -> Round {
        let known = |family| Known {
            key: Key::generate().unwrap(),
            family,
            since: 0,
        };
        Round {
            known: Mutex::new((0..FAMILIES).map(known).collect()),
            events: Mutex::default(),
            for_owners: Mutex::default(),
            clock: AtomicU64::new(0),
            values: AtomicU32::new(0),
            violations: Mutex::default(),
            short_lived: Mutex::new(vec![Arc::new(short_lived)]),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn new_value(&self) -> u32 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of keys so far.
    pub(super) fn keys(&self) -> usize {
        self.known.lock().unwrap().len()
    }

    pub(super) fn key(&self, key: usize) -> Key {
        self.known.lock().unwrap()[key].key.clone()
    }

    /// The newest short-lived session.
    pub(super) fn short_lived(&self) -> Arc<ShortLived> {
        let short_lived = self.short_lived.lock().unwrap();
        short_lived.last().expect("a round begins with one").clone()
    }

    pub(super) fn add_short_lived(&self, short_lived: ShortLived) {
        self.short_lived.lock().unwrap().push(Arc::new(short_lived));
    }

    /// The owner of the family of a key.
    pub(super) fn owner_of(&self, key: usize) -> String {
        let known = self.known.lock().unwrap();
        owner_of(&known, known[key].family)
    }

    /// Adds a new key to the family of another key. The call that made it began at `since`. Returns its number.
    pub(super) fn add_key(&self, key: Key, relative: usize, since: u64) -> usize {
        let mut known = self.known.lock().unwrap();
        let family = known[relative].family;
        known.push(Known { key, family, since });
        known.len() - 1
    }

    pub(super) fn record(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub(super) fn record_for_owner(&self, call: CallForOwner) {
        self.for_owners.lock().unwrap().push(call);
    }

    pub(super) fn add_violation(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    /// Reads all keys. Called when no call can have an effect any more.
    pub(super) fn read_all(&self, mut read: impl FnMut(&Key) -> Option<Stored>) {
        for key in 0..self.keys() {
            let Some(stored) = read(&self.key(key)) else {
                self.record_now(key, Verb::Get, Answer::NotFound);
                continue;
            };
            let value = stored.value.map(|value| value.parse().unwrap());
            self.record_now(key, Verb::Get, value.map_or(Answer::NotSet, Answer::Value));
            match stored.owner {
                Some(Some(owner)) if owner == self.owner_of(key) => {
                    self.record_now(key, Verb::List, Answer::Listed(value));
                }
                Some(Some(_)) => self.add_violation("a session has another owner".to_owned()),
                Some(None) => self.record_now(key, Verb::List, Answer::NotListed),
                None => {}
            }
        }
        for short_lived in &*self.short_lived.lock().unwrap() {
            let observation = short_lived.begin();
            match read(&short_lived.key) {
                Some(_) => observation.present(),
                None => observation.absent(),
            }
        }
    }

    fn record_now(&self, key: usize, verb: Verb, answer: Answer) {
        let (began, ended) = (self.now(), self.now());
        self.record(Event {
            thread: NO_TASK,
            key,
            verb,
            answer,
            began,
            ended,
        });
    }

    /// The number of families for which the search gave up. Fails with the calls that no order explains.
    pub(super) fn check(&self) -> Result<usize, String> {
        let mut violations = self.violations.lock().unwrap().clone();
        let short_lived = self.short_lived.lock().unwrap();
        violations.extend(
            short_lived
                .iter()
                .filter_map(|short_lived| short_lived.check().err()),
        );
        let mut undecided = 0;
        for family in 0..FAMILIES {
            let (events, keys) = self.family(family);
            match fits_within(&events, keys, MOST_STEPS) {
                Some(true) => {}
                Some(false) => {
                    let history: String = events.iter().map(|event| format!("{event}\n")).collect();
                    violations.push(format!("no order explains family {family}:\n{history}"));
                }
                None => undecided += 1,
            }
        }
        match violations.is_empty() {
            true => Ok(undecided),
            false => Err(violations.join("\n")),
        }
    }

    /// The events of a family, with its keys numbered from 0, and the number of its keys.
    fn family(&self, family: usize) -> (Vec<Event>, usize) {
        let known = self.known.lock().unwrap();
        let members = (0..known.len()).filter(|key| known[*key].family == family);
        let numbers: HashMap<usize, usize> = members.zip(0..).collect();
        let renumbered = |event: &Event| {
            let mut event = *event;
            event.key = *numbers.get(&event.key)?;
            if let Answer::Moved(new) = event.answer {
                event.answer = Answer::Moved(numbers[&new]);
            }
            Some(event)
        };
        let events = self.events.lock().unwrap();
        let for_owners = self.for_owners.lock().unwrap();
        let for_owners = for_owners.iter().flat_map(|call| call.events(&known));
        let events: Vec<_> = events.iter().copied().chain(for_owners).collect();
        let mut events: Vec<_> = events.iter().filter_map(renumbered).collect();
        events.sort_by_key(|event| (event.began, event.ended));
        (events, numbers.len())
    }
}
