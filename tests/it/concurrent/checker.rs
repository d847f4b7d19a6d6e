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
    Renew,
    Clear,
    Set {
        value: u32,
        ends: bool,
    },
    Insert {
        value: Option<u32>,
        ends: bool,
    },
    /// Creates a session under a new key, which may have an owner.
    Generate {
        value: u32,
        is_owned: bool,
    },
    Touch {
        ends: bool,
    },
    Rotate,
    /// A rotation that replaces the value and gives the session its owner.
    Login {
        value: u32,
        ends: bool,
    },
    Update {
        value: u32,
        ends: bool,
    },
    UpdateToNone,
    /// Gives the session its owner, or removes it. There is one owner for all keys.
    SetOwner {
        is_owned: bool,
    },
    /// The effect on this session of a call that clears all sessions of the owner. It need not happen to all at the same
    /// time.
    ClearOwned,
    /// The entry for this session in the list of the owner.
    List,
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
    /// The list of the owner has the session, with this value.
    Listed(Option<u32>),
    NotListed,
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
    Held { value: Option<u32>, is_owned: bool },
}

fn slot(value: Option<u32>, is_owned: bool, ends: bool) -> Slot {
    match ends {
        true => Slot::Absent,
        false => Slot::Held { value, is_owned },
    }
}

/// The sessions of all keys after the event, or `None` if the call cannot have had this answer now.
fn after(slots: &[Slot], event: &Event) -> Option<Vec<Slot>> {
    let before = slots[event.key];
    let (old, was_owned) = match before {
        Slot::Held { value, is_owned } => (value, is_owned),
        Slot::Absent => (None, false),
    };
    let mut slots = slots.to_vec();
    let mut moved = |session: Slot| match event.answer {
        // No caller can name the new key before this call has returned it.
        Answer::Moved(new) => {
            slots[new] = session;
            Some((event.answer, Slot::Absent))
        }
        Answer::Unknown => Some((event.answer, Slot::Absent)),
        _ => None,
    };
    let (answer, left) = match (event.verb, before) {
        (Verb::Clear, _) => (Answer::Done, Slot::Absent),
        (Verb::ClearOwned, _) if was_owned => (Answer::Done, Slot::Absent),
        (Verb::ClearOwned, _) => (Answer::Done, before),
        (Verb::List, _) if was_owned => (Answer::Listed(old), before),
        (Verb::List, _) => (Answer::NotListed, before),
        (Verb::Insert { value, ends }, Slot::Absent) => (Answer::Done, slot(value, false, ends)),
        (Verb::Generate { value, is_owned }, Slot::Absent) => {
            (Answer::Done, slot(Some(value), is_owned, false))
        }
        (Verb::Insert { .. } | Verb::Generate { .. }, _) => (Answer::KeyExists, before),
        (_, Slot::Absent) => (Answer::NotFound, before),
        (Verb::Get | Verb::Renew | Verb::UpdateToNone, _) => {
            (old.map_or(Answer::NotSet, Answer::Value), before)
        }
        (Verb::Set { value, ends }, _) => (Answer::Done, slot(Some(value), was_owned, ends)),
        (Verb::Touch { ends }, _) => (Answer::Done, slot(old, was_owned, ends)),
        (Verb::Update { value, ends }, _) => {
            (Answer::Edited(old), slot(Some(value), was_owned, ends))
        }
        (Verb::SetOwner { is_owned }, _) => (Answer::Done, slot(old, is_owned, false)),
        (Verb::Rotate, _) => moved(before)?,
        (Verb::Login { value, ends }, _) => moved(slot(Some(value), true, ends))?,
    };
    slots[event.key] = left;
    // If a call of unknown outcome changes nothing, this is the same as if it had no effect.
    let fits = match event.answer {
        Answer::Unknown => left != before,
        known => known == answer,
    };
    fits.then_some(slots)
}

/// Whether the call may change something later if it changes nothing now.
fn may_matter_later(event: &Event) -> bool {
    match event.verb {
        Verb::Clear | Verb::ClearOwned => true,
        Verb::SetOwner { .. } => event.answer != Answer::NotFound,
        _ => false,
    }
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
            let is_same = left_over == slots && !may_matter_later(&step.event);
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
