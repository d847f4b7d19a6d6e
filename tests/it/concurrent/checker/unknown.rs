//! Calls whose outcome is unknown to the caller.

use std::collections::HashMap;

use super::{Answer, Event, Verb};

/// An event, and the time by which it must have taken effect.
pub(super) struct Step {
    pub(super) event: Event,
    due: u64,
}

impl Step {
    /// The time of an event that need not take effect.
    pub(super) const NEVER: u64 = u64::MAX;

    pub(super) fn due(&self) -> u64 {
        self.due
    }
}

/// The events that can matter for the answers, each with the time by which it must have taken effect.
///
/// If a call of unknown outcome wrote a value that was read, it took effect before the end of the first
/// call that read it. If no call read the value, a write that replaced another value explains nothing and
/// is left out.
pub(super) fn steps(events: &[Event]) -> Vec<Step> {
    let mut seen: HashMap<u32, u64> = HashMap::new();
    for event in events {
        if let Answer::Value(value) | Answer::Edited(Some(value)) | Answer::Listed(Some(value)) =
            event.answer
        {
            let first = seen.entry(value).or_insert(event.ended);
            *first = event.ended.min(*first);
        }
    }
    let step = |event: &Event| {
        let event = *event;
        match event.answer {
            Answer::NoEffect => return None,
            Answer::Unknown => {}
            _ => {
                let due = event.ended;
                return Some(Step { event, due });
            }
        }
        let seen = |value: Option<u32>| value.and_then(|value| seen.get(&value)).copied();
        let due = match event.verb {
            // No caller knows the key of a session that was generated.
            Verb::Get | Verb::Renew | Verb::List | Verb::Generate { .. } => None,
            Verb::UpdateToNone | Verb::Touch { ends: false } => None,
            Verb::Insert { ends: true, .. } => None,
            Verb::Insert { value, .. } => Some(seen(value).unwrap_or(Step::NEVER)),
            Verb::Set { value, ends: false } | Verb::Update { value, ends: false } => {
                seen(Some(value))
            }
            Verb::Set { .. } | Verb::Update { .. } | Verb::Touch { .. } => Some(Step::NEVER),
            Verb::Clear | Verb::ClearOwned | Verb::SetOwner { .. } => Some(Step::NEVER),
            // It moves the session to a key that no caller knows.
            Verb::Rotate | Verb::Login { .. } => Some(Step::NEVER),
        };
        due.map(|due| Step { event, due })
    };
    events.iter().filter_map(step).collect()
}
