//! Sessions in this process's memory.

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

/// A store in memory: nothing to install, for tests, demos and programs of one process.
///
/// It keeps every rule of [`Store`]. Its clock is monotonic, so setting the system's time changes
/// nobody's session. All is gone with the process.
///
/// Expired sessions do not pile up: whenever the map has doubled since it was last swept, the call
/// that adds the next session sweeps it, which spread over all calls costs each a constant. So it
/// never holds more than twice as many entries as there were living sessions at the last sweep,
/// and never fewer than 1,024 before the first.
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

/// The sessions, and how many there may be before the next sweep.
struct Entries {
    map: HashMap<Key, Entry>,
    sweep_at: usize,
}

struct Entry {
    value: Option<String>,
    /// By the store's clock: how long after its start this session expires.
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

/// Fewer entries than this are never swept.
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
    /// An empty store, with a default period of [`DEFAULT_PERIOD`].
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

    /// The store's clock, monotonic; its bounds are far beyond any uptime.
    fn now(&self) -> Period {
        Period::try_from(self.start.elapsed()).unwrap_or(Period::MAX)
    }

    /// The lock, and the time by which everything done under it is judged.
    ///
    /// A panic under the lock can only come from an `edit`, before anything was changed: the entries
    /// are whole, and the lock serves on.
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
    fn default_period(&self) -> Period {
        self.default_period.get()
    }

    fn set_default_period(&self, period: Period) {
        self.default_period.set(period);
    }

    /// One: its calls take turns.
    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

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
        // The edit took its time: the session may have expired, and a life starts when it is written.
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
