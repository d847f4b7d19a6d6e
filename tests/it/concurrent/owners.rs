//! Calls for all sessions of an owner, as events on the sessions of its keys.

use session_postgres::Key;

use super::checker::{Answer, Event, Verb};

/// A key that threads use, its family, and when the call began that made it.
///
/// The keys that result from rotations of one key are a family. A family has an owner. No call concerns two families,
/// so each family is checked separately.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) key: Key,
    pub(crate) family: usize,
    pub(crate) since: u64,
}

/// Returns the owner of a family. No other family has it, also in other rounds.
pub(crate) fn owner_of(known: &[Known], family: usize) -> String {
    let first = known.iter().find(|known| known.family == family);
    first.expect("a family has a key").key.handle()
}

/// The effect or the result of a call for all sessions of an owner.
#[derive(Clone)]
pub(crate) enum Effect {
    /// It cleared them, with this answer.
    Cleared(Answer),
    /// It returned these handles and values.
    Listed(Vec<(String, Option<u32>)>),
}

/// A call for all sessions of the owner of a family.
#[derive(Clone)]
pub(crate) struct CallForOwner {
    pub(crate) thread: usize,
    pub(crate) family: usize,
    pub(crate) effect: Effect,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

impl CallForOwner {
    /// Returns what the call did to the session of each key of the family.
    pub(crate) fn events<'a>(&'a self, known: &'a [Known]) -> impl Iterator<Item = Event> + 'a {
        // A later key had no session yet.
        let is_open = matches!(self.effect, Effect::Cleared(Answer::Unknown));
        let known = known.iter().enumerate().filter(move |(_, known)| {
            known.family == self.family && (is_open || known.since < self.ended)
        });
        known.map(|(key, known)| {
            let (verb, answer) = match &self.effect {
                Effect::Cleared(answer) => (Verb::ClearOwned, *answer),
                Effect::Listed(listed) => {
                    let handle = known.key.handle();
                    let entry = listed.iter().find(|(listed, _)| *listed == handle);
                    let answer = entry.map(|(_, value)| Answer::Listed(*value));
                    (Verb::List, answer.unwrap_or(Answer::NotListed))
                }
            };
            Event {
                thread: self.thread,
                key,
                verb,
                answer,
                began: self.began,
                ended: self.ended,
            }
        })
    }

    /// Panics if the list has a session that is not one of the family.
    pub(crate) fn check_list(&self, known: &[Known]) {
        let Effect::Listed(listed) = &self.effect else {
            return;
        };
        for (handle, _) in listed {
            let is_it = |known: &&Known| known.key.handle() == *handle;
            let family = known.iter().find(is_it).map(|known| known.family);
            assert_eq!(family, Some(self.family), "the list has another session");
        }
    }
}
