//! The methods of [`Store`] for servers with blocking stores.

use std::{future::ready, num::NonZeroUsize, sync::Arc};

use super::{
    Sharded,
    clear::{cleared, existing, exists},
    create::is_absent,
    every::all_or_error,
    mode::{OnThreads, wait},
};
use crate::{
    Error, Key, OwnedSession, Period, Pruned, Session, SessionFields, ShardMap, Store,
    session::newest_first,
};

impl<S: Store> Store for Sharded<S> {
    fn generate_with(&self, fields: SessionFields<'_>) -> Result<Key, Error> {
        wait(self.create::<OnThreads, _>(|store| async move { store.generate_with(fields) }))
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        wait(
            self.clear_at::<OnThreads, _>(key, |store, looks_up| async move {
                if looks_up {
                    exists(store.get(key))?;
                }
                store.clear(key)
            }),
        )
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        wait(self.on::<OnThreads, _, _>(key, |store| async move { store.get(key) }))
    }

    fn renew(&self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        wait(self.on::<OnThreads, _, _>(key, |store| async move { store.renew(key, expiry) }))
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        wait(self.on::<OnThreads, _, _>(key, |store| async move { store.set(key, value, expiry) }))
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        let insert = |store: Arc<S>| async move { store.insert(key, value, expiry) };
        let find = |store: Arc<S>| async move { store.get(key).map(drop) };
        wait(self.insert_at::<OnThreads, _, _>(key, insert, find))
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        wait(self.on::<OnThreads, _, _>(key, |store| async move { store.touch(key, expiry) }))
    }

    fn rotate_with(&self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        wait(
            self.on::<OnThreads, _, _>(key, |store| async move { store.rotate_with(key, changes) }),
        )
    }

    fn rotate_to(&self, key: &Key, new: &Key, changes: SessionFields<'_>) -> Result<(), Error> {
        self.check_same_server(key, new)?;
        if self.layout().has_origin() {
            let find = |store: Arc<S>| async move { store.get(new) };
            is_absent(exists(wait(self.on::<OnThreads, _, _>(new, find))))?;
        }
        wait(self.on::<OnThreads, _, _>(
            key,
            |store| async move { store.rotate_to(key, new, changes) },
        ))
    }

    fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        wait(self.on::<OnThreads, _, _>(key, |store| async move { store.set_owner(key, owner) }))
    }

    fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        let answers =
            wait(self.on_every::<OnThreads, _, _>(|store| async move { store.owned(owner) }));
        Ok(newest_first(all_or_error(answers)?.into_iter().flatten()))
    }

    fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        let answers =
            wait(self.on_every::<OnThreads, _, _>(|store| async move {
                store.clear_owned(owner, except)
            }));
        Ok(all_or_error(answers)?.into_iter().sum())
    }

    fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        let answers =
            wait(self.on_every::<OnThreads, _, _>(|store| async move {
                store.clear_handle(owner, handle)
            }));
        // Only one server can have it.
        if answers
            .iter()
            .any(|(_, removed)| matches!(removed, Ok(true)))
        {
            return Ok(true);
        }
        all_or_error(answers).map(|_| false)
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        wait(self.on::<OnThreads, _, _>(key, |store| ready(store.update(key, expiry, edit))))
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
    fn join_map(&self, _: &str, _: &ShardMap) -> Result<Option<ShardMap>, Error> {
        Err(Error::InvalidOption(
            "a sharded store cannot be a server of another one".to_owned(),
        ))
    }

    fn prune_pass(&self, limit: u64) -> Pruned {
        let prune = |store: Arc<S>, limit| async move { store.prune_pass(limit) };
        wait(self.prune_every::<OnThreads, _>(limit, prune))
    }

    fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        wait(
            self.create_many::<OnThreads, _, _>(calls, |store, calls| async move {
                store.generate_many(&calls)
            }),
        )
    }

    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        wait(
            self.clear_many_at::<OnThreads, _>(keys, |store, keys, looks_up| async move {
                if !looks_up {
                    return store.clear_many(&keys);
                }
                let found: Vec<_> = store.get_many(&keys).into_iter().map(exists).collect();
                let existing = existing(&keys, &found);
                cleared(found, store.clear_many(&existing))
            }),
        )
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        wait(self.on_many::<OnThreads, _, _, _>(
            keys,
            |key| key,
            |store, calls| async move { store.get_many(&calls) },
        ))
    }

    fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        wait(self.on_many::<OnThreads, _, _, _>(
            calls,
            |call| call.0,
            |store, calls| async move { store.renew_many(&calls) },
        ))
    }

    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        wait(self.on_many::<OnThreads, _, _, _>(
            calls,
            |call| call.0,
            |store, calls| async move { store.set_many(&calls) },
        ))
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        wait(self.on_many::<OnThreads, _, _, _>(
            calls,
            |call| call.0,
            |store, calls| async move { store.touch_many(&calls) },
        ))
    }

    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        let insert = |store: Arc<S>, calls: Vec<_>| async move { store.insert_many(&calls) };
        wait(self.insert_many_at::<OnThreads, _, _, _>(
            calls,
            |call| call.0,
            insert,
            |store, calls| async move { found(&*store, calls) },
        ))
    }

    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        wait(
            self.clear_many_at::<OnThreads, _>(keys, |store, keys, looks_up| async move {
                if !looks_up {
                    return store.try_clear_many(&keys);
                }
                let found: Vec<_> = store.get_many(&keys).into_iter().map(exists).collect();
                let existing = existing(&keys, &found);
                cleared(found, store.try_clear_many(&existing))
            }),
        )
    }

    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        wait(self.on_many::<OnThreads, _, _, _>(
            calls,
            |call| call.0,
            |store, calls| async move { store.try_set_many(&calls) },
        ))
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        wait(self.on_many::<OnThreads, _, _, _>(
            calls,
            |call| call.0,
            |store, calls| async move { store.try_touch_many(&calls) },
        ))
    }

    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        let insert = |store: Arc<S>, calls: Vec<_>| async move { store.try_insert_many(&calls) };
        wait(self.insert_many_at::<OnThreads, _, _, _>(
            calls,
            |call| call.0,
            insert,
            |store, calls| async move { found(&*store, calls) },
        ))
    }

    /// Returns the sum of all servers.
    fn parallelism(&self) -> NonZeroUsize {
        let each = self.layout();
        let each = each
            .servers
            .iter()
            .map(|server| server.store.parallelism().get());
        NonZeroUsize::new(each.sum()).unwrap_or(NonZeroUsize::MIN)
    }
}

/// Looks for sessions that have the keys of these inserts.
fn found<S: Store>(
    store: &S,
    calls: Vec<(&Key, Option<&str>, Option<Period>)>,
) -> Vec<Result<(), Error>> {
    let keys: Vec<_> = calls.into_iter().map(|(key, ..)| key).collect();
    let found = store.get_many(&keys).into_iter();
    found.map(|found| found.map(drop)).collect()
}
