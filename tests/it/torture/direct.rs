//! A blocking store as an `AsyncStore`. Each call blocks the thread that polls it.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use session_postgres::{
    AsyncStore, Error, Key, OwnedSession, Period, PostgresStore, Session, SessionFields, ShardMap,
    Store,
};

#[derive(Clone)]
pub(super) struct Direct(pub(super) Arc<PostgresStore>);

/// Runs a future that is ready when it is first polled.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future was not ready"),
    }
}

impl AsyncStore for Direct {
    fn default_period(&self) -> Period {
        self.0.default_period()
    }

    fn set_default_period(&self, period: Period) {
        self.0.set_default_period(period);
    }

    async fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        self.0.generate(value, expiry)
    }

    async fn generate_with(&self, fields: SessionFields<'_>) -> Result<Key, Error> {
        self.0.generate_with(fields)
    }

    async fn clear(&self, key: &Key) -> Result<(), Error> {
        self.0.clear(key)
    }

    async fn get(&self, key: &Key) -> Result<Session, Error> {
        self.0.get(key)
    }

    async fn find(&self, key: &Key) -> Result<Option<Session>, Error> {
        self.0.find(key)
    }

    async fn renew(&self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        self.0.renew(key, expiry)
    }

    async fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.0.set(key, value, expiry)
    }

    async fn insert(
        &self,
        key: &Key,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> Result<(), Error> {
        self.0.insert(key, value, expiry)
    }

    async fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.0.touch(key, expiry)
    }

    async fn rotate(&self, key: &Key) -> Result<Key, Error> {
        self.0.rotate(key)
    }

    async fn rotate_with(&self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        self.0.rotate_with(key, changes)
    }

    async fn rotate_to(
        &self,
        key: &Key,
        new: &Key,
        changes: SessionFields<'_>,
    ) -> Result<(), Error> {
        self.0.rotate_to(key, new, changes)
    }

    async fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        self.0.set_owner(key, owner)
    }

    async fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        self.0.owned(owner)
    }

    async fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        self.0.clear_owned(owner, except)
    }

    async fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        self.0.clear_handle(owner, handle)
    }

    fn new_key(&self, moved: Option<&Key>) -> Result<Key, Error> {
        self.0.new_key(moved)
    }

    async fn join_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        self.0.join_map(server, map)
    }

    async fn prune(&self, limit: u64) -> Result<u64, Error> {
        self.0.prune(limit)
    }

    async fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        self.0.generate_many(calls)
    }

    async fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        self.0.get_many(keys)
    }

    async fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        self.0.renew_many(calls)
    }

    async fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.0.clear_many(keys)
    }

    async fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.0.set_many(calls)
    }

    async fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.0.insert_many(calls)
    }

    async fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.0.touch_many(calls)
    }

    async fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        mut edit: impl FnMut(Option<&str>) -> Option<String> + Send + 'static,
    ) -> Result<Session, Error> {
        self.0.update(key, expiry, &mut edit)
    }
}
