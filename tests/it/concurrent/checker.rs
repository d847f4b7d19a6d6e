//! Checks whether the answers of concurrent calls are linearizable.

mod tests;
mod unknown;

use std::{cmp::Reverse, collections::HashSet, fmt};

use self::unknown::Step;

/// A call on one session.
///
/// Each write has a different value, so that a read shows which write it saw. `ends` means that the
/// session expires at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
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
pub(crate) enum Answer {
    Done,
    NotFound,
    NotSet,
    KeyExists,
    /// A value was read.
    Value(u32),
    /// An update got this value and replaced it.
    Edited(Option<u32>),
    /// The session now has the key with this number.
    Moved(usize),
    /// The outcome is unknown: the call took effect once, at any time since it began, or never. If it was
    /// a rotation, it moved the session to a key that no caller knows.
    Unknown,
    /// The call failed: it had no effect and will have none.
    NoEffect,
}

/// A call, its answer, and when it began and ended by a clock that all threads share.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) thread: usize,
    pub(crate) key: usize,
    pub(crate) verb: Verb,
    pub(crate) answer: Answer,
    pub(crate) began: u64,
    pub(crate) ended: u64,
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

/// The session of a key.
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

/// The sessions of all keys after the event, or `None` if the call cannot have had this answer now.
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
            // No caller can name the new key before this call has returned it.
            Answer::Moved(new) => {
                slots[new] = before;
                (event.answer, Slot::Absent)
            }
            Answer::Unknown => (event.answer, Slot::Absent),
            _ => return None,
        },
    };
    slots[event.key] = left;
    // If a call of unknown outcome changes nothing, this is the same as if it had no effect.
    let fits = match event.answer {
        Answer::Unknown => left != before,
        known => known == answer,
    };
    fits.then_some(slots)
}

/// Whether some order of the calls explains all answers. In this order, a call comes after all calls that
/// ended before it began.
pub(crate) fn fits_some_order(events: &[Event], keys: usize) -> bool {
    fits_within(events, keys, usize::MAX).expect("at most 128 calls")
}

/// Like [`fits_some_order`]. Returns `None` if the search takes more steps than `most`, or if it concerns
/// more than 128 calls.
///
/// This is the search of Wing and Gong with the cache that Lowe added. It tries all orders, and remembers
/// which calls it has placed and which sessions they left.
///
/// If a call can come next and changes nothing, no other call is tried in its place, because that could
/// not explain more. For the same reason, only one of several calls of unknown outcome is tried if they
/// would leave the same sessions.
pub(crate) fn fits_within(events: &[Event], keys: usize, most: usize) -> Option<bool> {
    let mut steps = unknown::steps(events);
    // Each step is a bit of `done`.
    if steps.len() > 128 {
        return None;
    }
    // The last call that is found is tried first. This should be the call that ended first.
    steps.sort_by_key(|step| Reverse(step.due()));
    let mut tried = HashSet::new();
    let mut open = vec![(0_u128, vec![Slot::Absent; keys])];
    while let Some((done, slots)) = open.pop() {
        let is_left = |place: &usize| done & (1 << place) == 0;
        let left: Vec<_> = (0..steps.len()).filter(is_left).collect();
        let first_end = left.iter().map(|place| steps[*place].due()).min();
        // The remaining calls need not have had an effect.
        let Some(first_end) = first_end.filter(|end| *end < Step::NEVER) else {
            return Some(true);
        };
        let mut next = Vec::new();
        let mut optional = HashSet::new();
        for place in left {
            let step = &steps[place];
            if step.event.began > first_end {
                continue;
            }
            let Some(left_over) = after(&slots, &step.event) else {
                continue;
            };
            // A clear that changes nothing now may change something later.
            let is_same = left_over == slots && !matches!(step.event.verb, Verb::Clear);
            let is_new = step.due() < Step::NEVER || optional.insert(left_over.clone());
            if is_same {
                next.clear();
            }
            if is_new {
                next.push((done | 1 << place, left_over));
            }
            if is_same {
                break;
            }
        }
        for next in next {
            if tried.insert(next.clone()) {
                open.push(next);
            }
        }
        if tried.len() > most {
            return None;
        }
    }
    Some(false)
}
