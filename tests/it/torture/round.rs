//! One round: what its calls were told, and whether an order explains it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use session_postgres::Key;

use super::brief::Brief;
use crate::concurrent::checker::{Answer, Event, Verb, fits_within};

/// Families of keys: a rotation stays in one, so each has an order of its own.
pub(super) const FAMILIES: usize = 3;

/// After so many steps the search for an order of a family gives up.
const MOST_STEPS: usize = 200_000;

/// No task of the round has this number.
const NO_TASK: usize = 99;

/// A session's value, if there is a session, and a value.
pub(super) type Stored = Option<Option<String>>;

#[derive(Clone)]
struct Known {
    key: Key,
    family: usize,
}

pub(super) struct Round {
    known: Mutex<Vec<Known>>,
    events: Mutex<Vec<Event>>,
    clock: AtomicU64,
    values: AtomicU32,
    /// What no result may say, whatever the order.
    violations: Mutex<Vec<String>>,
    brief: Mutex<Vec<Arc<Brief>>>,
}

impl Round {
    /// A round on new keys, and a session that lives briefly.
    pub(super) fn new(brief: Brief) -> Round {
        let known = |family| Known {
            key: Key::generate().unwrap(),
            family,
        };
        Round {
            known: Mutex::new((0..FAMILIES).map(known).collect()),
            events: Mutex::default(),
            clock: AtomicU64::new(0),
            values: AtomicU32::new(0),
            violations: Mutex::default(),
            brief: Mutex::new(vec![Arc::new(brief)]),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn new_value(&self) -> u32 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// How many keys there are now.
    pub(super) fn keys(&self) -> usize {
        self.known.lock().unwrap().len()
    }

    pub(super) fn key(&self, key: usize) -> Key {
        self.known.lock().unwrap()[key].key.clone()
    }

    /// The newest of the sessions that live briefly.
    pub(super) fn brief(&self) -> Arc<Brief> {
        let brief = self.brief.lock().unwrap();
        brief.last().expect("there was one at first").clone()
    }

    pub(super) fn add_brief(&self, brief: Brief) {
        self.brief.lock().unwrap().push(Arc::new(brief));
    }

    /// The number of a key that has come into being in the family of another.
    pub(super) fn learn(&self, key: Key, relative: usize) -> usize {
        let mut known = self.known.lock().unwrap();
        let family = known[relative].family;
        known.push(Known { key, family });
        known.len() - 1
    }

    pub(super) fn record(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub(super) fn violation(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    /// Reads all keys, when no call can have an effect any more.
    pub(super) fn read_all(&self, mut read: impl FnMut(&Key) -> Stored) {
        for key in 0..self.keys() {
            let began = self.now();
            let answer = match read(&self.key(key)) {
                None => Answer::NotFound,
                Some(None) => Answer::NotSet,
                Some(Some(value)) => Answer::Value(value.parse().unwrap()),
            };
            self.record(Event {
                thread: NO_TASK,
                key,
                verb: Verb::Get,
                answer,
                began,
                ended: self.now(),
            });
        }
        for brief in &*self.brief.lock().unwrap() {
            let sight = brief.begin();
            match read(&brief.key) {
                Some(_) => sight.present(),
                None => sight.absent(),
            }
        }
    }

    /// How many families no order was found for in time; or what no order explains.
    pub(super) fn check(&self) -> Result<usize, String> {
        let mut violations = self.violations.lock().unwrap().clone();
        let brief = self.brief.lock().unwrap();
        violations.extend(brief.iter().filter_map(|brief| brief.check().err()));
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

    /// What happened in a family, with its keys numbered from 0.
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
        let mut events: Vec<_> = events.iter().filter_map(renumbered).collect();
        events.sort_by_key(|event| (event.began, event.ended));
        (events, numbers.len())
    }
}
