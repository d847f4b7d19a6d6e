//! Stores that wrap another one.

use std::{num::NonZeroUsize, ops::Deref};

use session_postgres::{
    Error, Key, OwnedSession, Period, Pruned, Session, SessionFields, ShardMap, Store,
};

/// Does something around each call on another store.
pub(crate) trait Around: Send + Sync + 'static {
    type Inner: Store;

    fn inner(&self) -> &Self::Inner;

    /// Executes a call or a batch. `keys` are those of a call that reads, or of a batch of any verb.
    fn around<T>(
        &self,
        verb: &'static str,
        keys: &[&Key],
        calls: usize,
        call: impl FnOnce(&Self::Inner) -> T,
    ) -> T;

    fn parallelism(&self) -> NonZeroUsize {
        self.inner().parallelism()
    }
}

/// A store that wraps another one.
#[derive(Clone, Default)]
pub(crate) struct Wrapper<A>(pub(crate) A);

impl<A> Deref for Wrapper<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

impl<A: Around> Wrapper<A> {
    /// Returns the wrapped store.
    pub(crate) fn inner(&self) -> &A::Inner {
        self.0.inner()
    }

    fn one<T>(&self, verb: &'static str, key: &Key, call: impl FnOnce(&A::Inner) -> T) -> T {
        self.0.around(verb, &[key], 1, call)
    }

    fn many<T>(&self, verb: &'static str, keys: &[&Key], call: impl FnOnce(&A::Inner) -> T) -> T {
        self.0.around(verb, keys, keys.len(), call)
    }
}

impl<A: Around> Store for Wrapper<A> {
    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.one("clear", key, |store| store.clear(key))
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.one("set", key, |store| store.set(key, value, expiry))
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        self.one("insert", key, |store| store.insert(key, value, expiry))
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.one("touch", key, |store| store.touch(key, expiry))
    }

    fn rotate_to(&self, key: &Key, new: &Key, changes: SessionFields<'_>) -> Result<(), Error> {
        self.one("rotate", key, |store| store.rotate_to(key, new, changes))
    }

    fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        self.one("set_owner", key, |store| store.set_owner(key, owner))
    }

    fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        self.0.around("owned", &[], 1, |store| store.owned(owner))
    }

    fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        let clear = |store: &A::Inner| store.clear_owned(owner, except);
        self.0.around("clear_owned", &[], 1, clear)
    }

    fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        let clear = |store: &A::Inner| store.clear_handle(owner, handle);
        self.0.around("clear_handle", &[], 1, clear)
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        self.one("update", key, |store| store.update(key, expiry, edit))
    }

    fn default_period(&self) -> Period {
        self.0.inner().default_period()
    }

    fn set_default_period(&self, period: Period) {
        self.0.inner().set_default_period(period);
    }

    fn prune_pass(&self, limit: u64) -> Pruned {
        let prune = |store: &A::Inner| store.prune_pass(limit);
        self.0.around("prune", &[], 1, prune)
    }

    fn new_key(&self, moved: Option<&Key>) -> Result<Key, Error> {
        self.0.inner().new_key(moved)
    }

    fn join_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        self.0.inner().join_map(server, map)
    }

    fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        let generate = |store: &A::Inner| store.generate_many(calls);
        self.0.around("generate", &[], calls.len(), generate)
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        self.many("get", keys, |store| store.get_many(keys))
    }

    fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        let keys: Vec<_> = calls.iter().map(|(key, _)| *key).collect();
        self.many("renew", &keys, |store| store.renew_many(calls))
    }

    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.many("clear", keys, |store| store.try_clear_many(keys))
    }

    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        let keys: Vec<_> = calls.iter().map(|(key, ..)| *key).collect();
        self.many("set", &keys, |store| store.try_set_many(calls))
    }

    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        let keys: Vec<_> = calls.iter().map(|(key, ..)| *key).collect();
        self.many("insert", &keys, |store| store.try_insert_many(calls))
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        let keys: Vec<_> = calls.iter().map(|(key, _)| *key).collect();
        self.many("touch", &keys, |store| store.try_touch_many(calls))
    }

    fn parallelism(&self) -> NonZeroUsize {
        self.0.parallelism()
    }
}
