//! The contract of every backend.

use std::{num::NonZeroUsize, sync::Arc, thread};

use crate::{Error, Key, Period, Session};

/// A blocking session store: the contract that every backend keeps.
///
/// A session is a value and an expiry date under a [`Key`]. Every call blocks its thread until it is done. In
/// async code, use an [`Offload`](crate::Offload).
///
/// A value is text. Encode structured data yourself, for example as JSON with `serde_json`.
///
/// # Rules
///
/// - **An expired session is absent.** From its expiry date on, every call treats the session as if it did not exist,
///   even if its row is still stored. The clock of the backend decides. For a [`PostgresStore`](crate::PostgresStore)
///   that is the clock of the server, not of the program.
/// - **Only [`generate`](Store::generate) and [`insert`](Store::insert) create sessions.** `get`, `set`, `touch`,
///   `rotate` and `update` of an absent session fail with [`Error::NotFound`]. So a key that a visitor made up never
///   becomes a session (session fixation), and a late write never restores a session that was cleared.
/// - **A value is stored unchanged.** It is at most [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES) long and contains no
///   NUL character. Other values fail with [`Error::InvalidValue`]. The empty string is a value. It is different from
///   no value, which a session may also have.
/// - **`expiry` is the time from this call until the session expires.** `None` is the
///   [default period](Store::default_period). `set`, `touch` and `update` restart the period. Zero or less makes the
///   session expire at once. A call fails with [`Error::PeriodOutOfRange`] if the period is shorter than
///   [`MIN_PERIOD`](crate::MIN_PERIOD) or longer than [`MAX_PERIOD`](crate::MAX_PERIOD).
/// - **A call that returns an error changes nothing**, now or later. The exceptions are [`Error::Disconnected`]
///   and [`Error::StillRunning`]: the call may have had its effect, or may still have it.
/// - **Concurrent calls**, from any number of threads, have the same results as if they were made one after another
///   in some order.
///
/// # Many calls at once
///
/// A method whose name ends in `_many` has the same effect as one call per argument: for example,
/// [`get_many`](Store::get_many) is like one [`get`](Store::get) per key. The order of execution is not specified.
/// The results are in the order of the arguments, and each call succeeds or fails on its own. The provided
/// implementations make one call after the other. A backend overrides them if a batch is faster.
///
/// # Implementations
///
/// The trait is dyn-compatible, and an `Arc` of a store is a store. [`Error::other`] wraps the errors of another
/// backend.
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
    /// Creates a session under a new random key and returns the key.
    ///
    /// Without a value, the session exists but has none: [`get`](Store::get) returns [`Error::NotSet`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidValue`], [`Error::PeriodOutOfRange`], [`Error::Randomness`], or an error of the backend.
    /// After [`Error::Disconnected`] there may be a session, but no program knows its key.
    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error>;

    /// Removes a session. Returns `Ok` if there is none.
    ///
    /// # Errors
    ///
    /// An error of the backend.
    fn clear(&self, key: &Key) -> Result<(), Error>;

    /// Returns the value of a session and the remaining time until it expires. Reading does not extend it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the session is absent, [`Error::NotSet`] if it has no value, or an error of the
    /// backend.
    fn get(&self, key: &Key) -> Result<Session, Error>;

    /// Replaces the value of an existing session. Its period restarts.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the session is absent: none is created. [`Error::InvalidValue`],
    /// [`Error::PeriodOutOfRange`], or an error of the backend.
    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error>;

    /// Creates a session under this key, for example under a key that another service has created. The key of an
    /// expired session may be used again.
    ///
    /// Never insert a key that a visitor sent: use [`generate`](Store::generate) for visitors.
    ///
    /// # Errors
    ///
    /// [`Error::KeyExists`] if a session has the key, so inserting twice fails the second time. That session is
    /// not changed. [`Error::InvalidValue`], [`Error::PeriodOutOfRange`], or an error of the backend.
    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error>;

    /// Restarts the period of an existing session. Its value does not change.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the session is absent, [`Error::PeriodOutOfRange`], or an error of the backend.
    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error>;

    /// Moves an existing session to a new random key and returns the key. The value and the expiry date do not
    /// change, and the old key is absent afterwards.
    ///
    /// Call it when a visitor logs in. A key that was stolen before the login is then useless.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the session is absent, so rotating the same key twice fails the second time.
    /// [`Error::Randomness`], or an error of the backend. After [`Error::Disconnected`] the session may be under
    /// a key that no program knows.
    fn rotate(&self, key: &Key) -> Result<Key, Error>;

    /// Reads a session, computes its new value with `edit`, and writes that value, as one atomic operation.
    /// Concurrent updates of one session are executed one after another, so none is lost.
    ///
    /// `edit` gets the current value, or `None` if the session has none. If it returns a value, that is written as
    /// by [`set`](Store::set). If it returns `None`, nothing is written and the period does not restart.
    /// Returns the session as it is afterwards.
    ///
    /// While `edit` is executed, other writes to this session wait. It must not call this store, because that call
    /// may wait for the update. If the backend has to repeat the operation, it calls `edit` again, so `edit`
    /// should have no side effects.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the session is absent or expires while `edit` is executed. [`Error::NotSet`] if it
    /// has no value and `edit` returned `None`. [`Error::InvalidValue`], [`Error::PeriodOutOfRange`], or an error
    /// of the backend.
    ///
    /// # Panics
    ///
    /// If `edit` panics. The session is not changed.
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

    /// Returns the default period, which applies to each write without an `expiry`.
    ///
    /// It is [`DEFAULT_PERIOD`](crate::DEFAULT_PERIOD), one week, unless it was changed.
    fn default_period(&self) -> Period;

    /// Sets the default period for all users of this store in this process, from their next call on.
    ///
    /// Existing sessions keep their expiry date. The period is not checked here: if it is out of range, every call
    /// that uses it fails with [`Error::PeriodOutOfRange`].
    fn set_default_period(&self, period: Period);

    /// Does [`generate`](Store::generate) for each `(value, expiry)`.
    fn generate_many(&self, calls: &[(Option<&str>, Option<Period>)]) -> Vec<Result<Key, Error>> {
        calls
            .iter()
            .map(|(value, expiry)| self.generate(*value, *expiry))
            .collect()
    }

    /// Does [`clear`](Store::clear) for each key.
    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        keys.iter().map(|key| self.clear(key)).collect()
    }

    /// Does [`get`](Store::get) for each key.
    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Does [`set`](Store::set) for each `(key, value, expiry)`.
    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        calls
            .iter()
            .map(|(key, value, expiry)| self.set(key, value, *expiry))
            .collect()
    }

    /// Does [`insert`](Store::insert) for each `(key, value, expiry)`.
    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        calls
            .iter()
            .map(|(key, value, expiry)| self.insert(key, *value, *expiry))
            .collect()
    }

    /// Does [`touch`](Store::touch) for each `(key, expiry)`.
    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        calls
            .iter()
            .map(|(key, expiry)| self.touch(key, *expiry))
            .collect()
    }

    /// Like [`clear_many`](Store::clear_many), but does not wait for locks: a call fails with [`Error::Locked`] if
    /// another transaction has locked its session.
    ///
    /// An [`Offload`](crate::Offload) calls it so that one locked session does not delay a batch. The provided
    /// implementation waits.
    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.clear_many(keys)
    }

    /// Like [`set_many`](Store::set_many), but does not wait for locks: see
    /// [`try_clear_many`](Store::try_clear_many).
    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.set_many(calls)
    }

    /// Like [`insert_many`](Store::insert_many), but does not wait for locks: see
    /// [`try_clear_many`](Store::try_clear_many).
    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.insert_many(calls)
    }

    /// Like [`touch_many`](Store::touch_many), but does not wait for locks: see
    /// [`try_clear_many`](Store::try_clear_many).
    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.touch_many(calls)
    }

    /// Returns how many calls the store can execute at the same time. This is the default for the largest number of
    /// workers of an [`Offload`](crate::Offload).
    ///
    /// The provided implementation returns the number of processors, or 1 if that is unknown.
    fn parallelism(&self) -> NonZeroUsize {
        thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
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

    fn default_period(&self) -> Period {
        (**self).default_period()
    }

    fn set_default_period(&self, period: Period) {
        (**self).set_default_period(period);
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

    fn parallelism(&self) -> NonZeroUsize {
        (**self).parallelism()
    }
}
