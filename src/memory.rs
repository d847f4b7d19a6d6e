//! Sessions in the memory of the process.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    DEFAULT_PERIOD, Error, Key, Period, Session, Store, period::DefaultPeriod, session::check_value,
};

/// A store in memory, for tests, demos and programs that run as a single process.
///
/// It keeps all rules of [`Store`]. Its clock is monotonic, so a change of the system time does not affect
/// sessions. All sessions are lost when the store is dropped.
///
/// A call that adds a session removes all expired ones if the number of entries is at least 1,024 and has doubled
/// since the last removal. So the store never has more than twice as many entries as sessions existed at the last
/// removal, or 1,024. The amortized cost of a call is constant.
///
/// # Examples
///
/// ```
/// use session_postgres::{MemoryStore, Store};
///
/// let store = MemoryStore::new();
/// let key = store.generate(Some("lobster"), None)?;
/// assert_eq!(store.get(&key)?.value, "lobster");
/// # Ok::<(), session_postgres::Error>(())
/// ```
pub struct MemoryStore {
    start: Instant,
    default_period: DefaultPeriod,
    entries: Mutex<Entries>,
}

struct Entries {
    map: HashMap<Key, Entry>,
    /// The number of entries at which expired ones are removed.
    sweep_at: usize,
}

struct Entry {
    value: Option<String>,
    /// The time from the start of the store until the session expires.
    expires: Period,
}

impl Entry {
    fn session(&self, now: Period) -> Result<Session, Error> {
        match &self.value {
            Some(value) => Ok(Session {
                value: value.clone(),
                period: self.expires - now,
            }),
            None => Err(Error::NotSet),
        }
    }
}

/// The smallest number of entries at which expired ones are removed.
const SWEEP_FROM: usize = 1024;

impl Entries {
    fn add(&mut self, key: Key, entry: Entry, now: Period) {
        if self.map.len() >= self.sweep_at {
            self.map.retain(|_, entry| entry.expires > now);
            self.sweep_at = SWEEP_FROM.max(self.map.len() * 2);
        }
        self.map.insert(key, entry);
    }

    fn living(&mut self, key: &Key, now: Period) -> Result<&mut Entry, Error> {
        self.map
            .get_mut(key)
            .filter(|entry| entry.expires > now)
            .ok_or(Error::NotFound)
    }
}

impl MemoryStore {
    /// Returns an empty store. Its default period is [`DEFAULT_PERIOD`], one week.
    pub fn new() -> MemoryStore {
        MemoryStore {
            start: Instant::now(),
            default_period: DefaultPeriod::new(DEFAULT_PERIOD),
            entries: Mutex::new(Entries {
                map: HashMap::new(),
                sweep_at: SWEEP_FROM,
            }),
        }
    }

    /// The time since the store was created. The maximum of `Period` is never reached.
    fn now(&self) -> Period {
        Period::try_from(self.start.elapsed()).unwrap_or(Period::MAX)
    }

    /// Locks the entries, and returns the current time for all decisions under this lock.
    ///
    /// A poisoned lock is used, because only `edit` can panic under it, before any entry is changed.
    fn entries(&self) -> (MutexGuard<'_, Entries>, Period) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        (entries, now)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("default_period", &self.default_period())
            .finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        let key = Key::generate()?;
        self.insert(&key, value, expiry)?;
        Ok(key)
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.entries().0.map.remove(key);
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        let (mut entries, now) = self.entries();
        entries.living(key, now)?.session(now)
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        let value = check_value(value)?;
        let period = self.default_period.or_given(expiry)?;
        let (mut entries, now) = self.entries();
        let entry = entries.living(key, now)?;
        *entry = Entry {
            value: Some(value.to_owned()),
            expires: now + period,
        };
        Ok(())
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        let value = value.map(check_value).transpose()?;
        let period = self.default_period.or_given(expiry)?;
        let (mut entries, now) = self.entries();
        match entries.living(key, now) {
            Ok(_) => Err(Error::KeyExists),
            Err(_) => {
                let entry = Entry {
                    value: value.map(str::to_owned),
                    expires: now + period,
                };
                entries.add(key.clone(), entry, now);
                Ok(())
            }
        }
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        let period = self.default_period.or_given(expiry)?;
        let (mut entries, now) = self.entries();
        entries.living(key, now)?.expires = now + period;
        Ok(())
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        let new = Key::generate()?;
        let (mut entries, now) = self.entries();
        entries.living(key, now)?;
        if let Some(entry) = entries.map.remove(key) {
            entries.map.insert(new.clone(), entry);
        }
        Ok(new)
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        let period = self.default_period.or_given(expiry)?;
        let (mut entries, now) = self.entries();
        let entry = entries.living(key, now)?;
        let Some(value) = edit(entry.value.as_deref()) else {
            return entry.session(now);
        };
        check_value(&value)?;
        // The session may have expired during `edit`. Its new period starts when the value is written.
        let now = self.now();
        if entry.expires <= now {
            return Err(Error::NotFound);
        }
        *entry = Entry {
            value: Some(value),
            expires: now + period,
        };
        entry.session(now)
    }

    fn default_period(&self) -> Period {
        self.default_period.get()
    }

    fn set_default_period(&self, period: Period) {
        self.default_period.set(period);
    }

    /// Returns 1, because the calls of this store are executed one after another.
    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn expired_sessions_do_not_pile_up_and_living_ones_stay() {
        let store = MemoryStore::new();
        let living: Vec<Key> = (0..SWEEP_FROM * 2)
            .map(|i| {
                let key = store.generate(Some("lobster"), None).unwrap();
                store.generate(Some("over"), Some(Period::ZERO)).unwrap();
                let entries = store.entries().0.map.len();
                assert!(entries <= SWEEP_FROM.max(2 * (i + 1)), "{entries} of {i}");
                key
            })
            .collect();
        for _ in 0..SWEEP_FROM * 4 {
            store.generate(Some("over"), Some(Period::ZERO)).unwrap();
        }
        assert!(store.entries().0.map.len() <= living.len() * 2);
        assert!(living.iter().all(|key| store.get(key).is_ok()));
    }
}
