//! Whether what many threads were told fits some order of their calls.

use std::{collections::HashSet, fmt};

/// A call on one session. Each value that is written is another number, so a read tells its write;
/// `ends` stands for a period that is over at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Get,
    Clear,
    Set { value: u32, ends: bool },
    Insert { value: Option<u32>, ends: bool },
    Touch { ends: bool },
    Rotate,
    Update { value: u32, ends: bool },
    UpdateToNone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    NotFound,
    NotSet,
    KeyExists,
    /// A value was read.
    Value(u32),
    /// A value was written in place of the one that was read.
    Edited(Option<u32>),
    /// The session is now under the key of this number.
    Moved(usize),
}

/// A call, its answer, and when it began and had ended, by a clock that all threads share.
#[derive(Clone, Copy)]
pub(super) struct Event {
    pub(super) thread: usize,
    pub(super) key: usize,
    pub(super) verb: Verb,
    pub(super) answer: Answer,
    pub(super) began: u64,
    pub(super) ended: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event {
            thread,
            key,
            verb,
            answer,
            began,
            ended,
        } = self;
        write!(
            f,
            "{began:3} to {ended:3}, thread {thread}: {verb:?} of key {key}: {answer:?}"
        )
    }
}

/// What is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Slot {
    Absent,
    Unset,
    Value(u32),
}

fn slot(value: Option<u32>, ends: bool) -> Slot {
    match value {
        _ if ends => Slot::Absent,
        Some(value) => Slot::Value(value),
        None => Slot::Unset,
    }
}

/// What is under all keys after the event, if it can happen now.
fn after(slots: &[Slot], event: &Event) -> Option<Vec<Slot>> {
    let before = slots[event.key];
    let old = match before {
        Slot::Value(value) => Some(value),
        Slot::Absent | Slot::Unset => None,
    };
    let mut slots = slots.to_vec();
    let (answer, left) = match (event.verb, before) {
        (Verb::Clear, _) => (Answer::Done, Slot::Absent),
        (Verb::Insert { value, ends }, Slot::Absent) => (Answer::Done, slot(value, ends)),
        (Verb::Insert { .. }, _) => (Answer::KeyExists, before),
        (_, Slot::Absent) => (Answer::NotFound, before),
        (Verb::Get | Verb::UpdateToNone, _) => (old.map_or(Answer::NotSet, Answer::Value), before),
        (Verb::Set { value, ends }, _) => (Answer::Done, slot(Some(value), ends)),
        (Verb::Touch { ends }, _) => (Answer::Done, if ends { Slot::Absent } else { before }),
        (Verb::Update { value, ends }, _) => (Answer::Edited(old), slot(Some(value), ends)),
        (Verb::Rotate, _) => match event.answer {
            // Nobody can name the new key before this call has returned it.
            Answer::Moved(new) => {
                slots[new] = before;
                (event.answer, Slot::Absent)
            }
            _ => return None,
        },
    };
    slots[event.key] = left;
    (answer == event.answer).then_some(slots)
}

/// Whether the events can be put in an order that explains all answers, in which no call comes
/// before one that had ended when it began.
///
/// Tries all orders, and remembers what it has tried: which calls were done, and what they left. It is
/// the search of Wing and Gong, with the memory that Lowe added.
pub(super) fn fits_some_order(events: &[Event], keys: usize) -> bool {
    assert!(events.len() <= 128, "each event is a bit");
    let mut tried = HashSet::new();
    let mut open = vec![(0_u128, vec![Slot::Absent; keys])];
    while let Some((done, slots)) = open.pop() {
        let is_left = |place: &usize| done & (1 << place) == 0;
        let left: Vec<_> = (0..events.len()).filter(is_left).collect();
        let Some(first_end) = left.iter().map(|place| events[*place].ended).min() else {
            return true;
        };
        for place in left {
            if events[place].began > first_end {
                continue;
            }
            if let Some(slots) = after(&slots, &events[place]) {
                let next = (done | 1 << place, slots);
                if tried.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    false
}

/// Calls on one key, each with its answer, its beginning and its end; moved sessions go to key 1.
fn is_possible(calls: &[(Verb, Answer, u64, u64)]) -> bool {
    let events: Vec<_> = calls
        .iter()
        .map(|&(verb, answer, began, ended)| Event {
            thread: 0,
            key: 0,
            verb,
            answer,
            began,
            ended,
        })
        .collect();
    fits_some_order(&events, 2)
}

const fn insert(value: u32) -> Verb {
    Verb::Insert {
        value: Some(value),
        ends: false,
    }
}

const fn set(value: u32) -> Verb {
    Verb::Set { value, ends: false }
}

const fn update(value: u32) -> Verb {
    Verb::Update { value, ends: false }
}

#[test]
fn the_checker_accepts_possible_histories() {
    use Answer::{Done, Edited, KeyExists, Moved, NotFound, Value};
    assert!(is_possible(&[]));
    // The read is at the same time as the write, and may see it or not.
    for seen in [1, 2] {
        assert!(is_possible(&[
            (insert(1), Done, 0, 1),
            (set(2), Done, 2, 5),
            (Verb::Get, Value(seen), 3, 4),
        ]));
    }
    // What ended last came first.
    assert!(is_possible(&[
        (insert(1), Done, 0, 9),
        (insert(2), KeyExists, 1, 2),
        (Verb::Rotate, Moved(1), 3, 8),
        (Verb::Get, Value(1), 4, 5),
        (Verb::Get, NotFound, 6, 7),
    ]));
    // The later of two updates at the same time builds on the earlier, whichever that is.
    assert!(is_possible(&[
        (insert(1), Done, 0, 1),
        (update(2), Edited(Some(3)), 2, 5),
        (update(3), Edited(Some(1)), 3, 4),
        (Verb::Get, Value(2), 6, 7),
    ]));
}

#[test]
fn the_checker_refuses_impossible_histories() {
    use Answer::{Done, Edited, Moved, NotFound, Value};
    // A read of what had been overwritten.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    // A write seen, and then not.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 7),
        (Verb::Get, Value(2), 3, 4),
        (Verb::Get, Value(1), 5, 6),
    ]));
    // Two that both made the session.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 3),
        (insert(2), Done, 1, 2),
    ]));
    // An update that was lost.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (update(2), Edited(Some(1)), 2, 5),
        (update(3), Edited(Some(1)), 3, 4),
    ]));
    // A session that is where it was moved from, and one that was moved from nowhere.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Rotate, Moved(1), 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    assert!(!is_possible(&[(Verb::Rotate, Moved(1), 0, 1)]));
    // A session that ended at once, and lives.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (Verb::Touch { ends: true }, Done, 2, 3),
        (Verb::Get, Value(1), 4, 5),
    ]));
    // A session that was not there for a moment, though nobody ended it.
    assert!(!is_possible(&[
        (insert(1), Done, 0, 1),
        (set(2), Done, 2, 5),
        (Verb::Get, NotFound, 3, 4),
    ]));
}
