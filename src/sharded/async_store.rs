//! The methods of [`AsyncStore`] for servers with async stores.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Sharded,
    clear::{cleared, existing, exists},
    create::is_absent,
    every::all_or_error,
    mode::OnTasks,
};
use crate::{
    AsyncStore, Error, Key, OwnedSession, Period, Pruned, Session, SessionFields, ShardMap,
    session::newest_first,
};

impl<A: AsyncStore> AsyncStore for Sharded<A> {
    async fn generate_with(&self, fields: SessionFields<'_>) -> Result<Key, Error> {
        self.create::<OnTasks, _>(|store| async move { store.generate_with(fields).await })
            .await
    }

    async fn clear(&self, key: &Key) -> Result<(), Error> {
        self.clear_at::<OnTasks, _>(key, |store, looks_up| async move {
            if looks_up {
                exists(store.get(key).await)?;
            }
            store.clear(key).await
        })
        .await
    }

    async fn get(&self, key: &Key) -> Result<Session, Error> {
        self.on::<OnTasks, _, _>(key, |store| async move { store.get(key).await })
            .await
    }

    async fn renew(&self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        self.on::<OnTasks, _, _>(key, |store| async move { store.renew(key, expiry).await })
            .await
    }

    async fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.on::<OnTasks, _, _>(
            key,
            |store| async move { store.set(key, value, expiry).await },
        )
        .await
    }

    async fn insert(
        &self,
        key: &Key,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> Result<(), Error> {
        let insert = |store: Arc<A>| async move { store.insert(key, value, expiry).await };
        let find = |store: Arc<A>| async move { store.get(key).await.map(drop) };
        self.insert_at::<OnTasks, _, _>(key, insert, find).await
    }

    fn is_sharded(&self) -> bool {
        true
    }

    async fn insert_new(
        &self,
        key: &Key,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> Result<(), Error> {
        let insert = |store: Arc<A>| async move { store.insert(key, value, expiry).await };
        self.insert_new_at::<OnTasks, _>(key, insert).await
    }

    async fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.on::<OnTasks, _, _>(key, |store| async move { store.touch(key, expiry).await })
            .await
    }

    async fn rotate_with(&self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        self.on::<OnTasks, _, _>(
            key,
            |store| async move { store.rotate_with(key, changes).await },
        )
        .await
    }

    async fn rotate_to(
        &self,
        key: &Key,
        new: &Key,
        changes: SessionFields<'_>,
    ) -> Result<(), Error> {
        self.check_same_server(key, new)?;
        if self.layout().has_origin() {
            let found = self.on::<OnTasks, _, _>(new, |store| async move { store.get(new).await });
            is_absent(exists(found.await))?;
        }
        self.on::<OnTasks, _, _>(key, |store| async move {
            store.rotate_to(key, new, changes).await
        })
        .await
    }

    async fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        self.on::<OnTasks, _, _>(
            key,
            |store| async move { store.set_owner(key, owner).await },
        )
        .await
    }

    async fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        let answers = self
            .on_every::<OnTasks, _, _>(|store| async move { store.owned(owner).await })
            .await;
        Ok(newest_first(all_or_error(answers)?.into_iter().flatten()))
    }

    async fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        let answers = self
            .on_every::<OnTasks, _, _>(
                |store| async move { store.clear_owned(owner, except).await },
            )
            .await;
        Ok(all_or_error(answers)?.into_iter().sum())
    }

    async fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        let answers = self
            .on_every::<OnTasks, _, _>(
                |store| async move { store.clear_handle(owner, handle).await },
            )
            .await;
        // Only one server can have it.
        if answers
            .iter()
            .any(|(_, removed)| matches!(removed, Ok(true)))
        {
            return Ok(true);
        }
        all_or_error(answers).map(|_| false)
    }

    async fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: impl FnMut(Option<&str>) -> Option<String> + Send + 'static,
    ) -> Result<Session, Error> {
        let edit = Arc::new(Mutex::new(edit));
        self.on::<OnTasks, _, _>(key, |store| {
            let edit = edit.clone();
            // Only one server at a time executes it, and its panic ends the call.
            let edit = move |value: Option<&str>| {
                (edit.lock().unwrap_or_else(PoisonError::into_inner))(value)
            };
            async move { store.update(key, expiry, edit).await }
        })
        .await
    }

    fn default_period(&self) -> Period {
        self.layout().servers[0].store.default_period()
    }

    fn set_default_period(&self, period: Period) {
        for server in &self.layout().servers {
            server.store.set_default_period(period);
        }
    }

    fn new_key(&self, moved: Option<&Key>) -> Result<Key, Error> {
        self.draw_key(moved)
    }

    /// Fails, because a server of a sharded store cannot be a sharded store.
    async fn join_map(&self, _: &str, _: &ShardMap) -> Result<Option<ShardMap>, Error> {
        Err(Error::InvalidOption(
            "a sharded store cannot be a server of another one".to_owned(),
        ))
    }

    async fn prune(&self, limit: u64) -> Result<u64, Error> {
        let pass = self.prune_every::<OnTasks, _>(limit, |store, limit| async move {
            Pruned::from(store.prune(limit).await)
        });
        pass.await.into_result()
    }

    async fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        self.create_many::<OnTasks, _, _>(calls, |store, calls| async move {
            store.generate_many(&calls).await
        })
        .await
    }

    async fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.clear_many_at::<OnTasks, _>(keys, |store, keys, looks_up| async move {
            if !looks_up {
                return store.clear_many(&keys).await;
            }
            let found = store.get_many(&keys).await;
            let found: Vec<_> = found.into_iter().map(exists).collect();
            let existing = existing(&keys, &found);
            cleared(found, store.clear_many(&existing).await)
        })
        .await
    }

    async fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        self.on_many::<OnTasks, _, _, _>(
            keys,
            |key| key,
            |store, calls| async move { store.get_many(&calls).await },
        )
        .await
    }

    async fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        self.on_many::<OnTasks, _, _, _>(
            calls,
            |call| call.0,
            |store, calls| async move { store.renew_many(&calls).await },
        )
        .await
    }

    async fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.on_many::<OnTasks, _, _, _>(
            calls,
            |call| call.0,
            |store, calls| async move { store.set_many(&calls).await },
        )
        .await
    }

    async fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.on_many::<OnTasks, _, _, _>(
            calls,
            |call| call.0,
            |store, calls| async move { store.touch_many(&calls).await },
        )
        .await
    }

    async fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        let insert = |store: Arc<A>, calls: Vec<_>| async move { store.insert_many(&calls).await };
        self.insert_many_at::<OnTasks, _, _, _>(
            calls,
            |call| call.0,
            insert,
            |store, calls| async move { found(&*store, calls).await },
        )
        .await
    }
}

/// Looks for sessions that have the keys of these inserts.
async fn found<A: AsyncStore>(
    store: &A,
    calls: Vec<(&Key, Option<&str>, Option<Period>)>,
) -> Vec<Result<(), Error>> {
    let keys: Vec<_> = calls.into_iter().map(|(key, ..)| key).collect();
    let found = store.get_many(&keys).await.into_iter();
    found.map(|found| found.map(drop)).collect()
}
