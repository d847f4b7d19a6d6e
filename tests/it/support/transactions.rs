//! A store that makes each call in a transaction of its own.

use std::num::NonZeroUsize;

use session_postgres::{
    Error, Key, OwnedSession, Period, PostgresStore, Pruned, Session, SessionFields,
    SessionTransaction, ShardMap, Store,
};

/// Makes each call for one session in a transaction. There are no batches in transactions, so these go to the store.
pub(crate) struct InTransactions(pub(crate) PostgresStore);

impl InTransactions {
    /// Commits the transaction also if the call has failed with an error that does not abort it.
    fn commit<T>(
        &self,
        call: impl FnOnce(&mut SessionTransaction<'_, '_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.0.transaction(|transaction| match call(transaction) {
            Err(
                error @ (Error::NotFound
                | Error::NotSet
                | Error::KeyExists
                | Error::InvalidValue(_)
                | Error::InvalidOwner(_)
                | Error::PeriodOutOfRange { .. }),
            ) => Ok(Err(error)),
            Err(error) => Err(error),
            Ok(done) => Ok(Ok(done)),
        })?
    }
}

impl Store for InTransactions {
    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        self.commit(|transaction| transaction.generate(value, expiry))
    }

    fn generate_with(&self, fields: SessionFields<'_>) -> Result<Key, Error> {
        self.commit(|transaction| transaction.generate_with(fields))
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.commit(|transaction| transaction.clear(key))
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        self.commit(|transaction| transaction.get(key))
    }

    fn find(&self, key: &Key) -> Result<Option<Session>, Error> {
        self.commit(|transaction| transaction.find(key))
    }

    fn renew(&self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        self.commit(|transaction| transaction.renew(key, expiry))
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.commit(|transaction| transaction.set(key, value, expiry))
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        self.commit(|transaction| transaction.insert(key, value, expiry))
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.commit(|transaction| transaction.touch(key, expiry))
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        self.commit(|transaction| transaction.rotate(key))
    }

    fn rotate_with(&self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        self.commit(|transaction| transaction.rotate_with(key, changes))
    }

    fn rotate_to(&self, key: &Key, new: &Key, changes: SessionFields<'_>) -> Result<(), Error> {
        self.commit(|transaction| transaction.rotate_to(key, new, changes))
    }

    fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        self.commit(|transaction| transaction.set_owner(key, owner))
    }

    fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        self.commit(|transaction| transaction.owned(owner))
    }

    fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        self.commit(|transaction| transaction.clear_owned(owner, except))
    }

    fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        self.commit(|transaction| transaction.clear_handle(owner, handle))
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        self.commit(|transaction| transaction.update(key, expiry, edit))
    }

    fn default_period(&self) -> Period {
        self.0.default_period()
    }

    fn set_default_period(&self, period: Period) {
        self.0.set_default_period(period);
    }

    fn new_key(&self, moved: Option<&Key>) -> Result<Key, Error> {
        self.0.new_key(moved)
    }

    fn join_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        self.0.join_map(server, map)
    }

    fn prune_pass(&self, limit: u64) -> Pruned {
        self.0.prune_pass(limit)
    }

    fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        self.0.generate_many(calls)
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        self.0.get_many(keys)
    }

    fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        self.0.renew_many(calls)
    }

    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.0.try_clear_many(keys)
    }

    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.0.try_set_many(calls)
    }

    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.0.try_insert_many(calls)
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.0.try_touch_many(calls)
    }

    fn parallelism(&self) -> NonZeroUsize {
        self.0.parallelism()
    }
}
