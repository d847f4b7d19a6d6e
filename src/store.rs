//! The contract of every backend.

use std::{num::NonZeroUsize, sync::Arc, thread};

use crate::{Error, Key, Period, Session};

/// A place that keeps sessions, through blocking calls.
///
/// Every backend keeps these rules:
///
/// - **Expired is absent.** From the instant its expiry date is reached, a session is as if it had
///   never been, whether or not a row is still there. The backend's clock decides: PostgreSQL's
///   own, not the program's.
/// - **Nothing is created by accident.** Only [`generate`](Store::generate) and
///   [`insert`](Store::insert) make sessions. Writing to an absent one is [`Error::NotFound`]: a key
///   that somebody sent never becomes a session (session fixation), and no value is lost unseen.
/// - **A value comes back to the byte**, or is refused with [`Error::InvalidValue`]: it must hold no
///   NUL and no more than [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES). `""` is a value.
/// - **`expiry: None` means the default period**, which starts again with each write, as in the
///   original. A period outside of [`MIN_PERIOD`](crate::MIN_PERIOD) to
///   [`MAX_PERIOD`](crate::MAX_PERIOD) is [`Error::PeriodOutOfRange`], and the session stays as it
///   was. One of zero or less makes the session expired at once.
/// - **Calls at the same time** from any number of threads come out as if they had run in some
///   order, one after the other.
///
/// The verbs that end in `_many` do for each of their arguments what the single verb does, and give
/// one result for each, in the order of the arguments. They too come out as if one had run after the
/// other, in some order. They are provided: a backend overrides them where many at once cost less
/// than one by one.
///
/// The trait is dyn-compatible, and an `Arc` of a store is a store.
///
/// # Examples
///
/// ```
/// use session_postgres::{Error, MemoryStore, Period, Store};
///
/// let store = MemoryStore::new();
/// let key = store.generate(None, Some(Period::hours(2)))?;
/// assert!(matches!(store.get(&key), Err(Error::NotSet)));
///
/// store.set(&key, "lobster", None)?;
/// assert_eq!(store.get(&key)?.value, "lobster");
///
/// store.clear(&key)?;
/// assert!(matches!(store.get(&key), Err(Error::NotFound)));
/// # Ok::<(), Error>(())
/// ```
pub trait Store: Send + Sync + 'static {
    /// The period that a write without an expiry gives. One week, until somebody changes it.
    fn default_period(&self) -> Period;

    /// Changes the default period, for all who share this store, from their next call on.
    ///
    /// A period out of range is taken, and refused by the calls that would use it.
    fn set_default_period(&self, period: Period);

    /// How many calls the store can carry out at the same time: an
    /// [`Offload`](crate::Offload) makes so many at once.
    ///
    /// Provided: the processors that there are.
    fn parallelism(&self) -> NonZeroUsize {
        thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// Makes a new session and returns its key, which nobody can guess.
    ///
    /// Without a value the session is there, and unset: [`get`](Store::get) says [`Error::NotSet`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidValue`], [`Error::PeriodOutOfRange`], [`Error::Randomness`], or the
    /// backend's own failure.
    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error>;

    /// Removes a session. Clearing an absent one is fine, and so is clearing twice.
    ///
    /// # Errors
    ///
    /// The backend's own failure.
    fn clear(&self, key: &Key) -> Result<(), Error>;

    /// Reads a session's value and what is left of its life. Reading does not prolong it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no living session, [`Error::NotSet`] where there is one
    /// without a value, or the backend's own failure.
    fn get(&self, key: &Key) -> Result<Session, Error>;

    /// Gives a living session this value, and a life that starts now.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no living session: nothing is created.
    /// [`Error::InvalidValue`], [`Error::PeriodOutOfRange`], or the backend's own failure.
    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error>;

    /// Makes a session under a key that the caller chose, for example one that another service made.
    ///
    /// Use [`generate`](Store::generate) for visitors. Never insert a key that a visitor sent.
    ///
    /// # Errors
    ///
    /// [`Error::KeyExists`] where a living session has the key, and it stays as it was.
    /// [`Error::InvalidValue`], [`Error::PeriodOutOfRange`], or the backend's own failure.
    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error>;

    /// Starts a living session's life anew, and leaves its value as it is.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::PeriodOutOfRange`], or the backend's own failure.
    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error>;

    /// Moves a living session to a new key, with its value and what is left of its life.
    ///
    /// Do this when a visitor logs in: whoever knew the key before then has nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Randomness`], or the backend's own failure.
    fn rotate(&self, key: &Key) -> Result<Key, Error>;

    /// Reads a living session, lets `edit` make a new value of the old, and writes it, with nobody
    /// in between: two updates of one session at the same time lose nothing.
    ///
    /// `edit` is given `None` for a session that is unset. Where it returns `None`, the session
    /// stays as it is, its life included. Otherwise the value is written as [`set`](Store::set)
    /// writes it. The session as it is afterwards is returned.
    ///
    /// `edit` may be run again where the backend has to begin anew, so its effects should be on the
    /// value alone. It must not use the same store, which may wait for itself. Others who write to
    /// this session wait while it runs.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::NotSet`] where the session was unset and `edit` left it so;
    /// [`Error::InvalidValue`], [`Error::PeriodOutOfRange`], or the backend's own failure.
    ///
    /// # Panics
    ///
    /// Where `edit` does; then the session is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{Error, MemoryStore, Store};
    ///
    /// let store = MemoryStore::new();
    /// let key = store.generate(None, None)?;
    /// for _ in 0..3 {
    ///     store.update(&key, None, &mut |visits| {
    ///         let visits: u64 = visits.map_or(0, |v| v.parse().unwrap_or(0));
    ///         Some((visits + 1).to_string())
    ///     })?;
    /// }
    /// assert_eq!(store.get(&key)?.value, "3");
    /// # Ok::<(), Error>(())
    /// ```
    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error>;

    /// [`generate`](Store::generate) for each `(value, expiry)`.
    fn generate_many(&self, calls: &[(Option<&str>, Option<Period>)]) -> Vec<Result<Key, Error>> {
        calls
            .iter()
            .map(|(value, expiry)| self.generate(*value, *expiry))
            .collect()
    }

    /// [`clear`](Store::clear) for each key.
    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        keys.iter().map(|key| self.clear(key)).collect()
    }

    /// [`get`](Store::get) for each key.
    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// [`set`](Store::set) for each `(key, value, expiry)`.
    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        calls
            .iter()
            .map(|(key, value, expiry)| self.set(key, value, *expiry))
            .collect()
    }

    /// [`insert`](Store::insert) for each `(key, value, expiry)`.
    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        calls
            .iter()
            .map(|(key, value, expiry)| self.insert(key, *value, *expiry))
            .collect()
    }

    /// [`touch`](Store::touch) for each `(key, expiry)`.
    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        calls
            .iter()
            .map(|(key, expiry)| self.touch(key, *expiry))
            .collect()
    }

    /// [`clear_many`](Store::clear_many), except that a session which another transaction keeps locked is
    /// [`Error::Locked`].
    ///
    /// Provided: it waits for the lock.
    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.clear_many(keys)
    }

    /// [`set_many`](Store::set_many), except that a session which another transaction keeps locked is
    /// [`Error::Locked`].
    ///
    /// Provided: it waits for the lock.
    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.set_many(calls)
    }

    /// [`insert_many`](Store::insert_many), except that a key which another transaction keeps locked is
    /// [`Error::Locked`].
    ///
    /// Provided: it waits for the lock.
    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.insert_many(calls)
    }

    /// [`touch_many`](Store::touch_many), except that a session which another transaction keeps locked is
    /// [`Error::Locked`].
    ///
    /// Provided: it waits for the lock.
    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.touch_many(calls)
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn default_period(&self) -> Period {
        (**self).default_period()
    }

    fn set_default_period(&self, period: Period) {
        (**self).set_default_period(period);
    }

    fn parallelism(&self) -> NonZeroUsize {
        (**self).parallelism()
    }

    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        (**self).generate(value, expiry)
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        (**self).clear(key)
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        (**self).get(key)
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        (**self).set(key, value, expiry)
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        (**self).insert(key, value, expiry)
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        (**self).touch(key, expiry)
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        (**self).rotate(key)
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        (**self).update(key, expiry, edit)
    }

    fn generate_many(&self, calls: &[(Option<&str>, Option<Period>)]) -> Vec<Result<Key, Error>> {
        (**self).generate_many(calls)
    }

    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        (**self).clear_many(keys)
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        (**self).get_many(keys)
    }

    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        (**self).set_many(calls)
    }

    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        (**self).insert_many(calls)
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        (**self).touch_many(calls)
    }

    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        (**self).try_clear_many(keys)
    }

    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        (**self).try_set_many(calls)
    }

    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        (**self).try_insert_many(calls)
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        (**self).try_touch_many(calls)
    }
}
