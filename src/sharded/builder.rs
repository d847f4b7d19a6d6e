//! Building a store from servers, and adding servers to it.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use super::{
    Sharded, Shared,
    availability::is_unreachable,
    layout::Layout,
    mode::{Mode, OnTasks, OnThreads, wait},
    newest::{Joined, more_than_half},
    server::{Server, Standing},
};
use crate::{AsyncStore, Error, Period, ShardMap, Store, shard_map::Compared};

/// The time limit in which servers accept a map when a store is built or extended.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// Options for a [`Sharded`] store, created with [`Sharded::builder`].
///
/// | option | default |
/// |---|---|
/// | [`server`](Self::server) | none |
/// | [`share`](Self::share) of a server | 1 |
/// | [`attempt_timeout`](Self::attempt_timeout) | 1 second |
#[derive(Debug)]
#[must_use = "a builder does nothing until it creates a store"]
pub struct ShardedBuilder<S> {
    map: ShardMap,
    stores: Vec<(String, S)>,
    shares: Vec<(String, u32)>,
    attempt_timeout: Duration,
}

impl<S> ShardedBuilder<S> {
    pub(super) fn new(map: ShardMap) -> ShardedBuilder<S> {
        ShardedBuilder {
            map,
            stores: Vec::new(),
            shares: Vec::new(),
            attempt_timeout: Duration::from_secs(1),
        }
    }

    /// Adds the store of a server. Each server of the map needs one.
    pub fn server(mut self, name: &str, store: S) -> Self {
        self.stores.push((name.to_owned(), store));
        self
    }

    /// Sets the share of new sessions that a server gets, in proportion to the shares of the others. With 0, the server is
    /// closed for new sessions. Shares may differ between programs.
    ///
    /// Defaults to 1 for each server.
    pub fn share(mut self, name: &str, share: u32) -> Self {
        self.shares.push((name.to_owned(), share));
        self
    }

    /// Sets how long the creation of a session waits for a server before another one is tried, and how long a call with a key
    /// in an unassigned slot waits for an answer of the servers about the map.
    ///
    /// Defaults to 1 second.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    fn share_of(&self, name: &str) -> Option<u32> {
        let mut shares = self.shares.iter().rev();
        shares.find(|(of, _)| of == name).map(|(_, share)| *share)
    }

    /// Returns the servers of the map, with the stores of this builder and those of `existing`.
    fn layout(mut self, existing: Option<&Layout<S>>) -> Result<Layout<S>, Error> {
        let map = Arc::new(self.map.clone());
        let mut servers = Vec::new();
        for name in self.map.names() {
            let given = self.stores.iter().position(|(of, _)| of == name);
            let known = existing.and_then(|layout| layout.server(name));
            let (store, standing) = match (given, known) {
                (Some(_), Some(_)) => {
                    return Err(invalid(format!("server {name} has a store already")));
                }
                (Some(place), None) => {
                    let standing = Standing::new(self.share_of(name).unwrap_or(1));
                    (Arc::new(self.stores.remove(place).1), Arc::new(standing))
                }
                (None, Some(known)) => (known.store.clone(), known.standing.clone()),
                (None, None) => return Err(invalid(format!("server {name} has no store"))),
            };
            let server = Server::new(name, store, standing, map.clone());
            servers.push(Arc::new(server));
        }
        let is_unknown = |name: &&str| servers.iter().all(|server| server.name != **name);
        let stores = self.stores.iter().map(|(name, _)| name.as_str());
        let shares = self.shares.iter().map(|(name, _)| name.as_str());
        if let Some(name) = stores.chain(shares).find(is_unknown) {
            return Err(invalid(format!("the map has no server {name}")));
        }
        if let Some((name, _)) = self.stores.first() {
            return Err(invalid(format!("server {name} has two stores")));
        }
        if servers.is_empty() {
            return Err(invalid("the map has no servers".to_owned()));
        }
        Ok(Layout::new(map, servers))
    }

    async fn start<M: Mode<S>>(self) -> Result<Sharded<S>, Error>
    where
        S: Send + Sync + 'static,
    {
        let attempt_timeout = self.attempt_timeout;
        let layout = self.layout(None)?;
        layout.set_default_period::<M>(M::default_period(&layout.servers[0].store));
        let answers = layout.join::<M>(START_TIMEOUT).await;
        check_start(&answers)?;
        Ok(Sharded {
            shared: Arc::new(Shared {
                layout: RwLock::new(Arc::new(layout)),
                attempt_timeout,
            }),
        })
    }
}

/// Fails if a program must not start after these answers of the servers.
fn check_start(answers: &[Joined]) -> Result<(), Error> {
    let has_one = answers.iter().any(|(_, answer)| answer.is_ok());
    let mut errors = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().err());
    let first = errors.clone().next().filter(|_| !has_one);
    // The error of a server that answers says more.
    if let Some(error) = errors.find(|e| !is_unreachable(e)).or(first) {
        return Err(error.clone());
    }
    let replaced = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().ok()?.as_ref());
    match replaced.max_by_key(|map| map.version()) {
        Some(older) => replaces(older, answers),
        None => Ok(()),
    }
}

/// Fails if the servers of an older map have not accepted a newer one, so that programs may still use the older one without
/// an error.
fn replaces(older: &ShardMap, answers: &[Joined]) -> Result<(), Error> {
    let knows = |(server, _): &&Joined| older.names().any(|known| known == *server);
    more_than_half(answers.iter().filter(knows).map(|(_, answer)| answer))
}

impl<S: Store> ShardedBuilder<S> {
    /// Creates a blocking store. The servers are asked at the same time to accept the map.
    ///
    /// A server that does not answer within 5 seconds is asked again by the first call that it gets. To start while a server
    /// is down, its store must connect later: set [`ConnectOptions::startonly`](crate::ConnectOptions::startonly).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the servers of the map are not those that have a store, [`Error::ShardMap`] if a server
    /// keeps another map or has another name, and other errors of a server that answers. The error of a server that does
    /// not answer only if no server answers, or if the servers have kept an older map until now, and not more than half of the
    /// servers of that one answer. The others keep the new map then.
    pub fn build(self) -> Result<Sharded<S>, Error> {
        wait(self.start::<OnThreads>())
    }
}

impl<A: AsyncStore> ShardedBuilder<A> {
    /// Does the same as [`build`](Self::build), for async stores.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build).
    pub async fn build_async(self) -> Result<Sharded<A>, Error> {
        self.start::<OnTasks>().await
    }
}

impl<S: Send + Sync + 'static> Sharded<S> {
    async fn extend_with<M: Mode<S>>(&self, newer: ShardedBuilder<S>) -> Result<(), Error> {
        let current = self.layout();
        if let Compared::Refused(reason) = newer.map.compare_to(&current.map) {
            return Err(invalid(format!(
                "the map cannot replace the present one: {reason}"
            )));
        }
        let shares = newer.shares.clone();
        let layout = newer.layout(Some(&current))?;
        replaces(&current.map, &layout.join::<M>(START_TIMEOUT).await)?;
        layout.set_default_period::<M>(M::default_period(&current.servers[0].store));
        let slot = &self.shared.layout;
        let mut slot = slot.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&slot, &current) {
            return Err(invalid(
                "another call has extended the store at the same time".to_owned(),
            ));
        }
        for (name, share) in shares {
            if let Some(server) = layout.server(&name) {
                server.standing.set_share(share);
            }
        }
        *slot = Arc::new(layout);
        Ok(())
    }
}

impl<S: Store> Sharded<S> {
    /// Replaces the map by a newer one, and adds its new servers. Other calls go on meanwhile.
    ///
    /// `newer` has the stores of the new servers only. The shares that it sets apply, and the other options do not. Servers
    /// of the present map that the newer one does not have are left out.
    ///
    /// Programs with the older map cannot find sessions on the new servers, and their calls for these fail with
    /// [`Error::ShardMap`]. So add a server with [`share`](ShardedBuilder::share) 0 in all programs first, and then
    /// [set its share](Sharded::set_share).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the map cannot replace the present one, or the servers of the map are not those that
    /// have a store. [`Error::ShardMap`] if a server refuses the map. Another error if not more than half of the servers of the
    /// present map accept it. The store is not changed then, but servers may keep the newer map: repeat the call.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{MemoryStore, ShardMap, Sharded};
    ///
    /// let map = ShardMap::new(1).assign("a", 0..=1023)?;
    /// let store = Sharded::builder(map.clone()).server("a", MemoryStore::new()).build()?;
    ///
    /// let newer = map.assign("b", 1024..=2047)?.with_version(2);
    /// store.extend(Sharded::builder(newer).server("b", MemoryStore::new()).share("b", 2))?;
    /// # Ok::<(), session_postgres::Error>(())
    /// ```
    pub fn extend(&self, newer: ShardedBuilder<S>) -> Result<(), Error> {
        wait(self.extend_with::<OnThreads>(newer))
    }
}

impl<A: AsyncStore> Sharded<A> {
    /// Does the same as [`extend`](Self::extend), for async stores.
    ///
    /// # Errors
    ///
    /// Those of [`extend`](Self::extend).
    pub async fn extend_async(&self, newer: ShardedBuilder<A>) -> Result<(), Error> {
        self.extend_with::<OnTasks>(newer).await
    }
}

impl<S> Layout<S> {
    /// Sets the default period of all servers.
    fn set_default_period<M: Mode<S>>(&self, period: Period) {
        for server in &self.servers {
            M::set_default_period(&server.store, period);
        }
    }
}

fn invalid(why: String) -> Error {
    Error::InvalidOption(why)
}
