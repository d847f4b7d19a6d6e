//! The methods of [`AsyncStore`] for a facade.

use super::{
    Offload,
    job::Call,
    queues::{Calls, Queues},
    verb::{Clear, Generate, Get, Insert, OwnedFields, Renew, Set, Touch, Verb},
};
use crate::{
    AsyncStore, Error, Key, Method, OwnedSession, Period, Session, SessionFields, ShardMap, Store,
    observe::{error_of, errors_of},
};

impl<S: Store> AsyncStore for Offload<S> {
    async fn generate_with(&self, fields: SessionFields<'_>) -> Result<Key, Error> {
        self.one(|queues| &mut queues.generate, OwnedFields::of(fields))
            .await
    }

    async fn clear(&self, key: &Key) -> Result<(), Error> {
        self.one(|queues| &mut queues.clear, key.clone()).await
    }

    async fn get(&self, key: &Key) -> Result<Session, Error> {
        self.one(|queues| &mut queues.get, key.clone()).await
    }

    async fn renew(&self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        self.one(|queues| &mut queues.renew, (key.clone(), expiry))
            .await
    }

    async fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.one(
            |queues| &mut queues.set,
            (key.clone(), value.to_owned(), expiry),
        )
        .await
    }

    async fn insert(
        &self,
        key: &Key,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> Result<(), Error> {
        self.one(
            |queues| &mut queues.insert,
            (key.clone(), value.map(str::to_owned), expiry),
        )
        .await
    }

    async fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.one(|queues| &mut queues.touch, (key.clone(), expiry))
            .await
    }

    async fn rotate_with(&self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        let (key, changes) = (key.clone(), OwnedFields::of(changes));
        self.long(Method::Rotate, changes.bytes(), move |store| {
            store.rotate_with(&key, changes.borrow())
        })
        .await
    }

    async fn rotate_to(
        &self,
        key: &Key,
        new: &Key,
        changes: SessionFields<'_>,
    ) -> Result<(), Error> {
        let (key, new, changes) = (key.clone(), new.clone(), OwnedFields::of(changes));
        self.long(Method::Rotate, changes.bytes(), move |store| {
            store.rotate_to(&key, &new, changes.borrow())
        })
        .await
    }

    async fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        let (key, owner) = (key.clone(), owner.map(str::to_owned));
        self.long(Method::SetOwner, 0, move |store| {
            store.set_owner(&key, owner.as_deref())
        })
        .await
    }

    async fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        let owner = owner.to_owned();
        self.long(Method::Owned, 0, move |store| store.owned(&owner))
            .await
    }

    async fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        let (owner, except) = (owner.to_owned(), except.cloned());
        self.long(Method::ClearOwned, 0, move |store| {
            store.clear_owned(&owner, except.as_ref())
        })
        .await
    }

    async fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        let (owner, handle) = (owner.to_owned(), handle.to_owned());
        self.long(Method::ClearHandle, 0, move |store| {
            store.clear_handle(&owner, &handle)
        })
        .await
    }

    async fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        mut edit: impl FnMut(Option<&str>) -> Option<String> + Send + 'static,
    ) -> Result<Session, Error> {
        let key = key.clone();
        self.long(Method::Update, 0, move |store| {
            store.update(&key, expiry, &mut edit)
        })
        .await
    }

    fn default_period(&self) -> Period {
        self.shared.store.default_period()
    }

    fn set_default_period(&self, period: Period) {
        self.shared.store.set_default_period(period);
    }

    fn new_key(&self, moved: Option<&Key>) -> Result<Key, Error> {
        self.shared.store.new_key(moved)
    }

    async fn join_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        let (server, map) = (server.to_owned(), map.clone());
        self.long(Method::Run, 0, move |store| store.join_map(&server, &map))
            .await
    }

    async fn prune(&self, limit: u64) -> Result<u64, Error> {
        self.long(Method::Prune, 0, move |store| store.prune(limit))
            .await
    }

    async fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        self.many::<Generate>(calls.iter().copied().map(OwnedFields::of).collect())
            .await
    }

    async fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.many::<Clear>(keys.iter().copied().cloned().collect())
            .await
    }

    async fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        self.many::<Get>(keys.iter().copied().cloned().collect())
            .await
    }

    async fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        let owned = calls.iter().map(|(key, expiry)| ((*key).clone(), *expiry));
        self.many::<Renew>(owned.collect()).await
    }

    async fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        let owned = calls
            .iter()
            .map(|(key, value, expiry)| ((*key).clone(), (*value).to_owned(), *expiry));
        self.many::<Set>(owned.collect()).await
    }

    async fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        let owned = calls
            .iter()
            .map(|(key, value, expiry)| ((*key).clone(), value.map(str::to_owned), *expiry));
        self.many::<Insert>(owned.collect()).await
    }

    async fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        let owned = calls.iter().map(|(key, expiry)| ((*key).clone(), *expiry));
        self.many::<Touch>(owned.collect()).await
    }
}

impl<S: Store> Offload<S> {
    /// Makes a call that may be executed together with others of its verb.
    async fn one<V: Verb>(
        &self,
        queue: impl FnOnce(&mut Queues<S>) -> &mut Calls<Call<V>>,
        args: V::Args,
    ) -> Result<V::Output, Error> {
        let one = |span| {
            let bytes = V::bytes(&args);
            self.call(queue, bytes, span, |ticket| Call { args, ticket })
        };
        self.observe(V::METHOD, 1, one, error_of).await
    }

    /// Makes many calls that are executed as one.
    async fn many<V: Verb>(&self, args: Vec<V::Args>) -> Vec<Result<V::Output, Error>> {
        let calls = args.len();
        let many = |span| async {
            let bytes = args.iter().map(V::bytes).sum();
            let work = move |store: &S| Ok(V::many(store, &args.iter().collect::<Vec<_>>(), true));
            match self.call_alone(bytes, span, work).await {
                Ok(results) => results,
                Err(e) => (0..calls).map(|_| Err(e.clone())).collect(),
            }
        };
        self.observe(V::METHOD, calls, many, errors_of).await
    }
}
