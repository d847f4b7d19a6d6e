//! A store behind an `Arc`.

use std::{num::NonZeroUsize, sync::Arc};

use super::Store;
use crate::{Error, Key, OwnedSession, Period, Pruned, Session, SessionFields, ShardMap};

impl<S: Store + ?Sized> Store for Arc<S> {
    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        (**self).generate(value, expiry)
    }

    fn generate_with(&self, fields: SessionFields<'_>) -> Result<Key, Error> {
        (**self).generate_with(fields)
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        (**self).clear(key)
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        (**self).get(key)
    }

    fn find(&self, key: &Key) -> Result<Option<Session>, Error> {
        (**self).find(key)
    }

    fn renew(&self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        (**self).renew(key, expiry)
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

    fn rotate_with(&self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        (**self).rotate_with(key, changes)
    }

    fn rotate_to(&self, key: &Key, new: &Key, changes: SessionFields<'_>) -> Result<(), Error> {
        (**self).rotate_to(key, new, changes)
    }

    fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        (**self).set_owner(key, owner)
    }

    fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        (**self).owned(owner)
    }

    fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        (**self).clear_owned(owner, except)
    }

    fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        (**self).clear_handle(owner, handle)
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

    fn prune(&self, limit: u64) -> Result<u64, Error> {
        (**self).prune(limit)
    }

    fn prune_pass(&self, limit: u64) -> Pruned {
        (**self).prune_pass(limit)
    }

    fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        (**self).generate_many(calls)
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        (**self).get_many(keys)
    }

    fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        (**self).renew_many(calls)
    }

    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        (**self).clear_many(keys)
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

    fn new_key(&self, moved: Option<&Key>) -> Result<Key, Error> {
        (**self).new_key(moved)
    }

    fn join_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        (**self).join_map(server, map)
    }

    fn parallelism(&self) -> NonZeroUsize {
        (**self).parallelism()
    }
}
