//! The contract of every backend.

mod arc;

use std::num::NonZeroUsize;

use crate::{Error, Key, OwnedSession, Period, Pruned, Session, SessionFields, ShardMap};

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
/// - **Only [`generate`](Store::generate) and [`insert`](Store::insert) create sessions.** All other calls for a key fail
///   with [`Error::NotFound`] if the session is absent, except for [`clear`](Store::clear). So a key that a visitor made up never
///   becomes a session (session fixation), and a late write never restores a session that was cleared.
/// - **A value is stored unchanged.** It is at most [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES) long and contains no
///   NUL character. Other values fail with [`Error::InvalidValue`]. The empty string is a value. It is different from
///   no value, which a session may also have.
/// - **`expiry` is the time from this call until the session expires.** `None` is the
///   [default period](Store::default_period). `set`, `touch`, `renew` and `update` restart the period. Zero or less makes the
///   session expire at once. A call fails with [`Error::PeriodOutOfRange`] if the period is shorter than
///   [`MIN_PERIOD`](crate::MIN_PERIOD) or longer than [`MAX_PERIOD`](crate::MAX_PERIOD).
/// - **A call that returns an error changes nothing**, now or later. The exceptions are [`Error::Disconnected`]
///   and [`Error::StillRunning`]: the call may have had its effect, or may still have it. [`Error::Partial`] of several
///   servers says on which ones the call had its effect.
/// - **Concurrent calls**, from any number of threads, have the same results as if they were made one after another
///   in some order. For calls that concern all sessions of an owner, this is true of each session.
///
/// # Many calls at once
///
/// A method whose name ends in `_many` has the same effect as one call per argument: for example,
/// [`get_many`](Store::get_many) is like one [`get`](Store::get) per key. The order of execution is not specified.
/// The results are in the order of the arguments, and each call succeeds or fails on its own.
///
/// # Implementations
///
/// The trait is dyn-compatible, and an `Arc` of a store is a store. [`Error::other`] wraps the errors of another
/// backend.
///
/// A store that wraps another one implements the required methods and forwards them. The provided methods call the
/// required ones. So the compiler reports each method that is not forwarded, and a batch stays a batch.
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
    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        self.generate_with(SessionFields::new(value, expiry))
    }

    /// Creates a session like [`generate`](Store::generate), and can also give it an owner.
    ///
    /// # Errors
    ///
    /// Those of [`generate`](Store::generate) and [`set_owner`](Store::set_owner).
    fn generate_with(&self, fields: SessionFields<'_>) -> Result<Key, Error> {
        single(self.generate_many(&[fields]))
    }

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
    fn get(&self, key: &Key) -> Result<Session, Error> {
        single(self.get_many(&[key]))
    }

    /// Returns a session like [`get`](Store::get), or `None` if it is absent.
    ///
    /// # Errors
    ///
    /// [`Error::NotSet`] if the session has no value, or an error of the backend.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{Key, MemoryStore, Store};
    ///
    /// let store = MemoryStore::new();
    /// match store.find(&Key::generate()?)? {
    ///     Some(session) => println!("logged in: {}", session.value),
    ///     None => println!("not logged in"),
    /// }
    /// # Ok::<(), session_postgres::Error>(())
    /// ```
    fn find(&self, key: &Key) -> Result<Option<Session>, Error> {
        match self.get(key) {
            Ok(session) => Ok(Some(session)),
            Err(Error::NotFound) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Returns a session like [`get`](Store::get), and restarts its period if a tenth of the period has passed.
    ///
    /// Call it instead of `get` for each request of a visitor, to end sessions that are not used (idle timeout). It
    /// rarely writes: at most ten times within a period, no matter how many requests there are. So a session may end
    /// up to a tenth of the period before the period has passed since the last request.
    ///
    /// It never shortens the remaining time, and never waits for a lock: if another transaction has locked the session,
    /// the session is returned and its period does not restart. [`Session::period`] is the time that is left
    /// afterwards.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Store::get), and [`Error::PeriodOutOfRange`]. If the period restarts, also the errors of a write,
    /// for example [`Error::Disconnected`].
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{MemoryStore, Period, Store};
    ///
    /// let store = MemoryStore::new();
    /// let key = store.generate(Some("lobster"), Some(Period::minutes(20)))?;
    /// let session = store.renew(&key, Some(Period::minutes(30)))?;
    /// assert_eq!(session.value, "lobster");
    /// assert!(session.period > Period::minutes(29));
    /// # Ok::<(), session_postgres::Error>(())
    /// ```
    fn renew(&self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        single(self.renew_many(&[(key, expiry)]))
    }

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
    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        self.rotate_with(key, SessionFields::default())
    }

    /// Moves an existing session to a new random key like [`rotate`](Store::rotate), and changes the given fields in
    /// the same operation.
    ///
    /// This is a login in one step: the session gets its new key, its owner and its value, or nothing changes.
    ///
    /// # Errors
    ///
    /// Those of [`rotate`](Store::rotate), [`set`](Store::set) and [`set_owner`](Store::set_owner).
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{MemoryStore, SessionFields, Store};
    ///
    /// let store = MemoryStore::new();
    /// let visitor = store.generate(Some("a basket"), None)?;
    /// let login = SessionFields { owner: Some("user 42"), ..SessionFields::default() };
    /// let key = store.rotate_with(&visitor, login)?;
    /// assert_eq!(store.get(&key)?.value, "a basket");
    /// assert_eq!(store.owned("user 42")?.len(), 1);
    /// # Ok::<(), session_postgres::Error>(())
    /// ```
    fn rotate_with(&self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        let new = self.new_key(Some(key))?;
        self.rotate_to(key, &new, changes)?;
        Ok(new)
    }

    /// Moves an existing session to the key `new` like [`rotate_with`](Store::rotate_with), for stores that wrap this
    /// one and make their own keys.
    ///
    /// `new` must be random, for example from [`new_key`](Store::new_key), and no other call may use it.
    ///
    /// # Errors
    ///
    /// Those of [`rotate_with`](Store::rotate_with), and [`Error::KeyExists`] if a session has the key `new`. Nothing
    /// changes then. After [`Error::Disconnected`] the session is under one of the two keys.
    fn rotate_to(&self, key: &Key, new: &Key, changes: SessionFields<'_>) -> Result<(), Error>;

    /// Gives an existing session an owner, or removes its owner. The value and the expiry date do not change.
    ///
    /// An owner is a text of 1 to 255 bytes without NUL characters, for example the id of a user. It stays when the
    /// session is rotated.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the session is absent, [`Error::InvalidOwner`], [`Error::MissingColumn`], or an error of
    /// the backend.
    fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error>;

    /// Returns all sessions of an owner, the newest first.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOwner`], [`Error::MissingColumn`], or an error of the backend.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{MemoryStore, SessionFields, Store};
    ///
    /// let store = MemoryStore::new();
    /// let login = SessionFields { owner: Some("user 42"), value: Some("Firefox"), expiry: None };
    /// let key = store.generate_with(login)?;
    /// for device in store.owned("user 42")? {
    ///     let here = if device.handle == key.handle() { "this device" } else { "" };
    ///     println!("{} {:?} {here}", device.value.unwrap_or_default(), device.age);
    /// }
    /// # Ok::<(), session_postgres::Error>(())
    /// ```
    fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error>;

    /// Removes all sessions of an owner, except for the one with the key `except`. Returns how many it has removed.
    ///
    /// This logs a user out everywhere, or everywhere else. All of the sessions are removed, or none if the call fails. With
    /// several servers, that is true of each; see [`Error::Partial`].
    ///
    /// A session that another call creates for the owner at the same time may remain. To exclude that, make both calls
    /// in transactions that lock the same row, for example the row of the user; see the guide on
    /// [transactions](crate::guide::transactions).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOwner`], [`Error::MissingColumn`], or an error of the backend.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{MemoryStore, SessionFields, Store};
    ///
    /// let store = MemoryStore::new();
    /// let login = SessionFields { owner: Some("user 42"), ..SessionFields::default() };
    /// let (phone, laptop) = (store.generate_with(login)?, store.generate_with(login)?);
    /// assert_eq!(store.clear_owned("user 42", Some(&laptop))?, 1);
    /// assert!(store.find(&phone)?.is_none());
    /// # Ok::<(), session_postgres::Error>(())
    /// ```
    fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error>;

    /// Removes the session of an owner that has this handle. Returns whether there was one.
    ///
    /// This logs a user out on one device of the list that [`owned`](Store::owned) returns. A session of another owner
    /// is never removed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOwner`], [`Error::MissingColumn`], or an error of the backend.
    fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error>;

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

    /// Removes at most `limit` expired sessions, and returns how many it has removed.
    ///
    /// Expired sessions are absent for all other calls, so they only take up space. A [`Pruner`](crate::Pruner) removes
    /// them at intervals.
    ///
    /// If another program removes expired sessions at the same time, the call may end early.
    ///
    /// # Errors
    ///
    /// An error of the backend, if no session was removed.
    fn prune(&self, limit: u64) -> Result<u64, Error> {
        self.prune_pass(limit).into_result()
    }

    /// Does [`prune`](Store::prune), and reports more. A [`Pruner`](crate::Pruner) calls this.
    fn prune_pass(&self, limit: u64) -> Pruned;

    /// Does [`generate_with`](Store::generate_with) for each call.
    fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>>;

    /// Does [`get`](Store::get) for each key.
    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>>;

    /// Does [`renew`](Store::renew) for each `(key, expiry)`.
    fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>>;

    /// Does [`clear`](Store::clear) for each key.
    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        locked_last(self.try_clear_many(keys), |call| self.clear(keys[call]))
    }

    /// Does [`set`](Store::set) for each `(key, value, expiry)`.
    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        locked_last(self.try_set_many(calls), |call| {
            let (key, value, expiry) = calls[call];
            self.set(key, value, expiry)
        })
    }

    /// Does [`insert`](Store::insert) for each `(key, value, expiry)`.
    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        locked_last(self.try_insert_many(calls), |call| {
            let (key, value, expiry) = calls[call];
            self.insert(key, value, expiry)
        })
    }

    /// Does [`touch`](Store::touch) for each `(key, expiry)`.
    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        locked_last(self.try_touch_many(calls), |call| {
            let (key, expiry) = calls[call];
            self.touch(key, expiry)
        })
    }

    /// Like [`clear_many`](Store::clear_many), but does not wait for locks: a call fails with [`Error::Locked`] if
    /// another transaction has locked its session.
    ///
    /// An [`Offload`](crate::Offload) calls it so that one locked session does not delay a batch.
    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>>;

    /// Like [`set_many`](Store::set_many), but does not wait for locks: see
    /// [`try_clear_many`](Store::try_clear_many).
    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>>;

    /// Like [`insert_many`](Store::insert_many), but does not wait for locks: see
    /// [`try_clear_many`](Store::try_clear_many).
    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>>;

    /// Like [`touch_many`](Store::touch_many), but does not wait for locks: see
    /// [`try_clear_many`](Store::try_clear_many).
    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>>;

    /// Returns a new random key for a session of this store: a new one, or the one that has the key `moved` now. It is
    /// not stored. [`generate`](Store::generate) and [`rotate`](Store::rotate) use such keys.
    ///
    /// It differs from [`Key::generate`] in a [`Sharded`](crate::Sharded) store, and in a store that is one of its
    /// servers: there, the key determines the server.
    ///
    /// # Errors
    ///
    /// [`Error::Randomness`]. In a [`Sharded`](crate::Sharded) store also [`Error::NotOpen`], if all servers are closed.
    fn new_key(&self, moved: Option<&Key>) -> Result<Key, Error>;

    /// Makes this store the server with this name of a [`Sharded`](crate::Sharded) store, which calls this.
    ///
    /// From now on, [`new_key`](Store::new_key) returns keys in the slots of this server;
    /// [`ShardMap::generate_key`] makes such keys. A backend that other programs share keeps the map and the name of the
    /// server, and refuses others. Returns the older map that it has kept until now, if any.
    ///
    /// # Errors
    ///
    /// [`Error::ShardMap`] if the backend keeps another map or name, [`Error::InvalidOption`] if the map does not have the
    /// server, or an error of the backend.
    fn join_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error>;

    /// Returns how many calls the store can execute at the same time. This is the default for the largest number of
    /// workers of an [`Offload`](crate::Offload).
    fn parallelism(&self) -> NonZeroUsize;
}

/// Returns the result of a batch of one call.
fn single<T>(results: Vec<Result<T, Error>>) -> Result<T, Error> {
    let result = results.into_iter().next();
    result.unwrap_or_else(|| Err(Error::other("the store has returned no result for a call")))
}

/// Makes the calls that are [`Error::Locked`] again, with a method that waits.
pub(crate) fn locked_last(
    mut results: Vec<Result<(), Error>>,
    wait: impl Fn(usize) -> Result<(), Error>,
) -> Vec<Result<(), Error>> {
    for (call, result) in results.iter_mut().enumerate() {
        if matches!(result, Err(Error::Locked)) {
            *result = wait(call);
        }
    }
    results
}
