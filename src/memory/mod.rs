//! Sessions in the memory of the process.

mod entries;

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use self::entries::{Entries, Entry};
use crate::{
    DEFAULT_PERIOD, Error, Key, OwnedSession, Period, Pruned, Session, SessionFields, ShardMap,
    Store,
    period::{self, DefaultPeriod, RenewAfter, check_max_age},
    session::{check_owner, check_value},
    shard_map::OwnSlots,
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
    renew_after: RenewAfter,
    entries: Mutex<Entries>,
    slots: OwnSlots,
}

impl MemoryStore {
    /// Returns an empty store. Its default period is [`DEFAULT_PERIOD`], one week.
    pub fn new() -> MemoryStore {
        MemoryStore {
            start: Instant::now(),
            default_period: DefaultPeriod::new(DEFAULT_PERIOD),
            renew_after: RenewAfter::default(),
            entries: Mutex::new(Entries::new()),
            slots: OwnSlots::default(),
        }
    }

    /// Sets the age at which a session ends, no matter how often it is renewed or rotated. `None` sets no limit.
    ///
    /// Defaults to `None`.
    ///
    /// # Panics
    ///
    /// If it is zero or less, or longer than [`MAX_PERIOD`](crate::MAX_PERIOD).
    pub fn max_age(mut self, age: impl Into<Option<Period>>) -> MemoryStore {
        let entries = self.entries.get_mut();
        entries.unwrap_or_else(PoisonError::into_inner).max_age = check_max_age(age.into());
        self
    }

    /// Sets the fraction of the period that must have passed before [`renew`](Store::renew) restarts it.
    ///
    /// Defaults to 0.1, a tenth.
    ///
    /// # Panics
    ///
    /// If it is not from 0 to 1.
    pub fn renew_after(mut self, fraction: f64) -> MemoryStore {
        self.renew_after = RenewAfter::new(fraction);
        self
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

    fn add(&self, key: &Key, fields: SessionFields<'_>) -> Result<(), Error> {
        let value = fields.value.map(check_value).transpose()?;
        let owner = fields.owner.map(check_owner).transpose()?;
        let period = self.default_period.or_given(fields.expiry)?;
        let (mut entries, now) = self.entries();
        if entries.living(key, now).is_ok() {
            return Err(Error::KeyExists);
        }
        let entry = Entry {
            value: value.map(str::to_owned),
            owner: owner.map(str::to_owned),
            created: now,
            expires: now + period,
        };
        entries.add(key.clone(), entry, now);
        Ok(())
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
    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.entries().0.map.remove(key);
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        let (mut entries, now) = self.entries();
        entries.living(key, now)?;
        entries.session(key, now)
    }

    fn renew(&self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        let period = self.default_period.or_given(expiry)?;
        let (mut entries, now) = self.entries();
        let entry = entries.living(key, now)?;
        let is_due = entry.expires - now < self.renew_after.due_below(period);
        if is_due && entry.value.is_some() {
            entry.expires = now + period;
        }
        entries.session(key, now)
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        let value = check_value(value)?;
        let period = self.default_period.or_given(expiry)?;
        let (mut entries, now) = self.entries();
        let entry = entries.living(key, now)?;
        entry.value = Some(value.to_owned());
        entry.expires = now + period;
        Ok(())
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        self.add(key, SessionFields::new(value, expiry))
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        let period = self.default_period.or_given(expiry)?;
        let (mut entries, now) = self.entries();
        entries.living(key, now)?.expires = now + period;
        Ok(())
    }

    fn rotate_to(&self, key: &Key, new: &Key, changes: SessionFields<'_>) -> Result<(), Error> {
        let value = changes.value.map(check_value).transpose()?;
        let owner = changes.owner.map(check_owner).transpose()?;
        let period = changes.expiry.map(period::check).transpose()?;
        let (mut entries, now) = self.entries();
        entries.living(key, now)?;
        if entries.living(new, now).is_ok() {
            return Err(Error::KeyExists);
        }
        let Some(mut entry) = entries.map.remove(key) else {
            return Err(Error::NotFound);
        };
        if let Some(value) = value {
            entry.value = Some(value.to_owned());
        }
        if let Some(owner) = owner {
            entry.owner = Some(owner.to_owned());
        }
        if let Some(period) = period {
            entry.expires = now + period;
        }
        entries.map.insert(new.clone(), entry);
        Ok(())
    }

    fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        let owner = owner.map(check_owner).transpose()?;
        let (mut entries, now) = self.entries();
        entries.living(key, now)?.owner = owner.map(str::to_owned);
        Ok(())
    }

    fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        let owner = check_owner(owner)?;
        let (entries, now) = self.entries();
        let max_age = entries.max_age;
        let owned = entries.map.iter().filter(|(_, entry)| {
            entry.owner.as_deref() == Some(owner) && entry.ends(max_age) > now
        });
        let mut owned: Vec<_> = owned
            .map(|(key, entry)| OwnedSession {
                handle: key.handle(),
                value: entry.value.clone(),
                period: entry.ends(max_age) - now,
                age: Some(now - entry.created),
            })
            .collect();
        owned.sort_by_key(|session| session.age);
        Ok(owned)
    }

    fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        let owner = check_owner(owner)?;
        let (mut entries, now) = self.entries();
        Ok(entries.remove_owned(owner, now, |key| Some(key) != except))
    }

    fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        let owner = check_owner(owner)?;
        let (mut entries, now) = self.entries();
        Ok(entries.remove_owned(owner, now, |key| key.handle() == handle) > 0)
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
            return entries.session(key, now);
        };
        check_value(&value)?;
        // The session may have expired during `edit`. Its new period starts when the value is written.
        let now = self.now();
        let entry = entries.living(key, now)?;
        entry.value = Some(value);
        entry.expires = now + period;
        entries.session(key, now)
    }

    fn default_period(&self) -> Period {
        self.default_period.get()
    }

    fn set_default_period(&self, period: Period) {
        self.default_period.set(period);
    }

    fn prune_pass(&self, limit: u64) -> Pruned {
        let (mut entries, now) = self.entries();
        let max_age = entries.max_age;
        let mut removed = 0;
        entries.map.retain(|_, entry| {
            let is_removed = removed < limit && entry.ends(max_age) <= now;
            removed += u64::from(is_removed);
            !is_removed
        });
        Pruned::new(removed)
    }

    fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        let generate = |fields: &SessionFields<'_>| {
            let key = self.slots.new_key()?;
            self.add(&key, *fields)?;
            Ok(key)
        };
        calls.iter().map(generate).collect()
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        let renew = |(key, expiry): &(&Key, _)| self.renew(key, *expiry);
        calls.iter().map(renew).collect()
    }

    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        keys.iter().map(|key| self.clear(key)).collect()
    }

    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        let set = |(key, value, expiry): &(&Key, &str, _)| self.set(key, value, *expiry);
        calls.iter().map(set).collect()
    }

    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        let insert = |(key, value, expiry): &(&Key, _, _)| self.insert(key, *value, *expiry);
        calls.iter().map(insert).collect()
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        let touch = |(key, expiry): &(&Key, _)| self.touch(key, *expiry);
        calls.iter().map(touch).collect()
    }

    fn new_key(&self, _: Option<&Key>) -> Result<Key, Error> {
        self.slots.new_key()
    }

    fn join_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        self.slots.join(map.slots_of(server)?);
        Ok(None)
    }

    /// Returns 1, because the calls of this store are executed one after another.
    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{entries::SWEEP_FROM, *};

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
