//! The slot of a key, and sets of slots in which keys are drawn.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{Error, Key};

/// The number of slots: that of all pairs of characters at the beginning of a key.
pub(crate) const SLOTS: u16 = 1 << 12;

/// Returns the slot of a key: its first two characters as base64 digits.
///
/// The keys of other services may contain other characters, or only one. They have a slot, too: each character stands
/// for a digit, and a missing one for 0.
pub(crate) fn slot_of(key: &Key) -> u16 {
    let mut digits = key.as_str().bytes().map(digit);
    let mut next = || u16::from(digits.next().unwrap_or(0));
    next() << 6 | next()
}

fn digit(character: u8) -> u8 {
    match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' | b'+' => 62,
        b'_' | b'/' => 63,
        _ => character & 63,
    }
}

/// A set of slots, as ranges that do not overlap.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Slots(Arc<[RangeInclusive<u16>]>);

impl Default for Slots {
    /// All slots.
    fn default() -> Self {
        Slots(Arc::new([0..=SLOTS - 1]))
    }
}

impl Slots {
    /// The ranges must not overlap.
    pub(crate) fn new(ranges: &[RangeInclusive<u16>]) -> Slots {
        Slots(ranges.into())
    }

    /// Returns how many slots the set has.
    pub(crate) fn count(&self) -> u16 {
        self.0.iter().map(|range| range.len() as u16).sum()
    }

    /// Returns a slot of the set. Each of them is as probable if `random` is random. The set must not be empty.
    pub(crate) fn pick(&self, random: u32) -> u16 {
        let mut place = (random % u32::from(self.count())) as u16;
        for range in &*self.0 {
            match range.len() as u16 {
                length if place < length => return range.start() + place,
                length => place -= length,
            }
        }
        0
    }
}

/// Writes the ranges, separated by commas.
impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// The slots in which a store draws its keys: all, until it has joined a map.
#[derive(Default)]
pub(crate) struct OwnSlots(RwLock<Option<Slots>>);

impl OwnSlots {
    /// Returns a new random key in one of the slots.
    pub(crate) fn new_key(&self) -> Result<Key, Error> {
        // No code panics while it holds this lock.
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(slots) => Key::generate_in(slots),
            None => Key::generate(),
        }
    }

    pub(crate) fn join(&self, slots: Slots) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(slots);
    }

    pub(crate) fn have_joined(&self) -> bool {
        let slots = self.0.read();
        slots.unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

#[cfg(all(test, not(shuttle)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn slot(key: &str) -> u16 {
        slot_of(&key.parse().unwrap())
    }

    #[test]
    fn the_first_two_characters_are_the_digits_of_the_slot() {
        assert_eq!((slot("AAxyz"), slot("AB"), slot("BA")), (0, 1, 64));
        assert_eq!(
            (slot("__"), slot("//"), slot("-_"), slot("+/")),
            (4095, 4095, 4031, 4031)
        );
    }

    #[test]
    fn every_key_has_a_slot() {
        for first in '!'..='~' {
            for second in '!'..='~' {
                assert!(slot(&format!("{first}{second}")) < SLOTS);
            }
            assert!(slot(&first.to_string()) < SLOTS);
        }
    }

    #[test]
    fn each_slot_of_a_set_is_picked() {
        let slots = Slots::new(&[3..=5, 9..=9]);
        assert_eq!(slots.count(), 4);
        let picked: Vec<_> = (0..8).map(|random| slots.pick(random)).collect();
        assert_eq!(picked, [3, 4, 5, 9, 3, 4, 5, 9]);
    }

    #[test]
    fn a_key_is_drawn_in_each_slot_of_a_set_and_in_no_other() {
        let slots = Slots::new(&[63..=64, 4095..=4095]);
        let mut drawn: Vec<_> = (0..200)
            .map(|_| slot_of(&Key::generate_in(&slots).unwrap()))
            .collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [63, 64, 4095]);
    }
}
