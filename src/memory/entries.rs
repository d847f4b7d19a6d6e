//! The sessions of a store in memory.

use std::collections::HashMap;

use crate::{Error, Key, Period, Session};

pub(super) struct Entries {
    pub(super) map: HashMap<Key, Entry>,
    pub(super) max_age: Option<Period>,
    /// The number of entries at which expired ones are removed.
    sweep_at: usize,
}

/// A session. Its times count from the start of the store.
pub(super) struct Entry {
    pub(super) value: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) created: Period,
    /// When it expires, if it does not reach its maximum age before.
    pub(super) expires: Period,
}

impl Entry {
    pub(super) fn ends(&self, max_age: Option<Period>) -> Period {
        max_age.map_or(self.expires, |age| self.expires.min(self.created + age))
    }
}

/// The smallest number of entries at which expired ones are removed.
pub(super) const SWEEP_FROM: usize = 1024;

impl Entries {
    pub(super) fn new() -> Entries {
        Entries {
            map: HashMap::new(),
            max_age: None,
            sweep_at: SWEEP_FROM,
        }
    }

    pub(super) fn add(&mut self, key: Key, entry: Entry, now: Period) {
        if self.map.len() >= self.sweep_at {
            let max_age = self.max_age;
            self.map.retain(|_, entry| entry.ends(max_age) > now);
            self.sweep_at = SWEEP_FROM.max(self.map.len() * 2);
        }
        self.map.insert(key, entry);
    }

    pub(super) fn living(&mut self, key: &Key, now: Period) -> Result<&mut Entry, Error> {
        let max_age = self.max_age;
        self.map
            .get_mut(key)
            .filter(|entry| entry.ends(max_age) > now)
            .ok_or(Error::NotFound)
    }

    pub(super) fn session(&self, key: &Key, now: Period) -> Result<Session, Error> {
        let entry = self.map.get(key).ok_or(Error::NotFound)?;
        Ok(Session {
            value: entry.value.clone().ok_or(Error::NotSet)?,
            period: entry.ends(self.max_age) - now,
            age: Some(now - entry.created),
        })
    }

    /// Removes the sessions of an owner that `is_meant` selects. Returns how many of them had not expired.
    pub(super) fn remove_owned(
        &mut self,
        owner: &str,
        now: Period,
        is_meant: impl Fn(&Key) -> bool,
    ) -> u64 {
        let max_age = self.max_age;
        let mut removed = 0;
        self.map.retain(|key, entry| {
            let is_kept = entry.owner.as_deref() != Some(owner) || !is_meant(key);
            removed += u64::from(!is_kept && entry.ends(max_age) > now);
            is_kept
        });
        removed
    }
}
