//! An async store as a blocking store, so that the tests of blocking stores cover it.

use std::{future::Future, num::NonZeroUsize, sync::mpsc};

use session_postgres::{
    AsyncStore, Error, Key, OwnedSession, Period, Pruned, Session, SessionFields, ShardMap, Store,
};
use tokio::runtime::{Builder, Runtime};

/// Waits for the future of each call on its own runtime.
pub(crate) struct Blocking<A> {
    store: A,
    runtime: Runtime,
}

impl<A> Blocking<A> {
    pub(crate) fn new(make: impl FnOnce() -> A) -> Blocking<A> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        Blocking {
            store: make(),
            runtime,
        }
    }

    /// Makes the store in the runtime.
    pub(crate) fn connect(make: impl AsyncFnOnce() -> A) -> Blocking<A> {
        let Blocking { runtime, store: () } = Blocking::new(|| ());
        let store = runtime.block_on(make());
        Blocking { store, runtime }
    }

    fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }
}

impl<A: AsyncStore + Clone> Store for Blocking<A> {
    fn default_period(&self) -> Period {
        self.store.default_period()
    }

    fn set_default_period(&self, period: Period) {
        self.store.set_default_period(period);
    }

    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        self.wait(self.store.generate(value, expiry))
    }

    fn generate_with(&self, fields: SessionFields<'_>) -> Result<Key, Error> {
        self.wait(self.store.generate_with(fields))
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.wait(self.store.clear(key))
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        self.wait(self.store.get(key))
    }

    fn find(&self, key: &Key) -> Result<Option<Session>, Error> {
        self.wait(self.store.find(key))
    }

    fn renew(&self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        self.wait(self.store.renew(key, expiry))
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.wait(self.store.set(key, value, expiry))
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        self.wait(self.store.insert(key, value, expiry))
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.wait(self.store.touch(key, expiry))
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        self.wait(self.store.rotate(key))
    }

    fn rotate_with(&self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        self.wait(self.store.rotate_with(key, changes))
    }

    fn rotate_to(&self, key: &Key, new: &Key, changes: SessionFields<'_>) -> Result<(), Error> {
        self.wait(self.store.rotate_to(key, new, changes))
    }

    fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        self.wait(self.store.set_owner(key, owner))
    }

    fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        self.wait(self.store.owned(owner))
    }

    fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        self.wait(self.store.clear_owned(owner, except))
    }

    fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        self.wait(self.store.clear_handle(owner, handle))
    }

    fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        self.wait(self.store.generate_many(calls))
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        self.wait(self.store.get_many(keys))
    }

    fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        self.wait(self.store.renew_many(calls))
    }

    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.wait(self.store.clear_many(keys))
    }

    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.wait(self.store.set_many(calls))
    }

    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.wait(self.store.insert_many(calls))
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.wait(self.store.touch_many(calls))
    }

    /// `edit` cannot be sent to a worker. The worker sends the old value to this thread, and waits for
    /// the new one.
    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        let (to_edit, old) = mpsc::channel::<Option<String>>();
        let (edited, new) = mpsc::channel();
        let (store, key) = (self.store.clone(), key.clone());
        let call = self.runtime.spawn(async move {
            let edit = move |old: Option<&str>| {
                to_edit.send(old.map(str::to_owned)).unwrap();
                new.recv().expect("edit panicked")
            };
            store.update(&key, expiry, edit).await
        });
        for old in old {
            edited.send(edit(old.as_deref())).unwrap();
        }
        self.wait(call).unwrap()
    }

    fn prune_pass(&self, limit: u64) -> Pruned {
        let (removed, error) = match self.wait(self.store.prune(limit)) {
            Ok(removed) => (removed, None),
            Err(e) => (0, Some(e)),
        };
        let mut pass = Pruned::new(removed);
        pass.error = error;
        pass
    }

    fn new_key(&self, moved: Option<&Key>) -> Result<Key, Error> {
        self.store.new_key(moved)
    }

    fn join_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        self.wait(self.store.join_map(server, map))
    }

    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.clear_many(keys)
    }

    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.set_many(calls)
    }

    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.insert_many(calls)
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.touch_many(calls)
    }
}
