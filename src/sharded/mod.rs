//! Sessions on several servers. The path of a call:
//!
//! 1. [`store`](mod@store) or [`async_store`] makes it with one of the methods of [`Store`] or [`AsyncStore`].
//! 2. The [`layout`] says on which [`server`] the session with its key can be.
//! 3. [`calls`] and [`create`] ask these servers, and [`every`] asks all of them. [`answers`] combines what they say.
//! 4. The [`mode`] makes the calls of several servers at the same time: on tasks or on threads.

mod answers;
mod async_store;
mod availability;
mod builder;
mod calls;
mod clear;
mod create;
mod every;
mod layout;
mod mode;
mod newest;
mod server;
mod store;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

pub use self::builder::ShardedBuilder;
use self::{
    clear::exists,
    layout::Layout,
    mode::{OnTasks, OnThreads},
};
use crate::{
    AsyncStore, Error, Key, ShardMap, Store,
    shard_map::{Slots, slot_of},
};

/// A store whose sessions are on several servers.
///
/// A session stays on the server where it was created, and its key says which: the [`ShardMap`] assigns the first two
/// characters of keys to servers. So a call goes to one server, and needs no transaction over several. The guide on
/// [scaling](crate::guide::scaling) says when one server is not enough, and how to add servers.
///
/// `S` is the store of one server:
///
/// - In async code, an [`Offload`](crate::Offload) for each server, so that each has its own queue, workers and time
///   limits. Then this is an [`AsyncStore`].
/// - In blocking code, a [`PostgresStore`](crate::PostgresStore). Then this is a [`Store`].
///
/// It is a handle: clones share one list of servers.
///
/// # Servers that fail
///
/// A server that is down, slow or full affects only its own sessions:
///
/// - **New sessions** are created on the others. A creation that fails, or that has no answer within the
///   [`attempt_timeout`](ShardedBuilder::attempt_timeout), is tried on another server. For some seconds, the server is then
///   left out. The first attempt may have created a session, but no program knows its key. In blocking code, a store ends
///   an attempt in time only on TCP connections that it has opened; see
///   [`timeout`](crate::PostgresStoreBuilder::timeout).
/// - **Calls for a session** fail with the error of its server.
/// - **Calls for an owner** ask all servers. If some fail, so does the call, with [`Error::Partial`], which names them. To
///   use the sessions of the others anyway, ask the stores in [`servers`](Sharded::servers).
///
/// # The map
///
/// Programs with different maps would not find each other's sessions. So each server keeps the map and its own name, and no
/// call is sent to it before it has accepted the map of the program.
///
/// A key whose slot is assigned to no server has no session, so calls for it return [`Error::NotFound`]. But another program
/// may have added a server. So the servers are asked before that whether they keep a newer map. Calls that wait share the
/// answer. If one does, the call fails with [`Error::ShardMap`], so that the visitor is not logged out. If half of the servers or
/// more do not answer, it fails with the error of one of them.
///
/// # Batches
///
/// A batch is split by server, and the servers execute their parts at the same time. In blocking code that takes a thread
/// for each further server of a batch. A batch ends when the slowest server has answered, and so does a call for an owner.
///
/// # Examples
///
/// ```
/// use session_postgres::{AsyncStore, Offload, ShardMap, Sharded};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let servers = [throwaway_postgres::Server::start()?, throwaway_postgres::Server::start()?];
/// # let [url_a, url_b] = [servers[0].url(), servers[1].url()];
/// let map: ShardMap = "version=1 a=0-1023 b=1024-2047".parse()?;
/// let (a, b) = (Offload::connect(url_a).await?, Offload::connect(url_b).await?);
/// for server in [&a, &b] {
///     server.run(|store| store.create_table()).await??;
/// }
/// let store = Sharded::builder(map).server("a", a).server("b", b).build_async().await?;
///
/// let key = store.generate(Some("lobster"), None).await?;
/// assert_eq!(store.get(&key).await?.value, "lobster");
/// # Ok(())
/// # }
/// ```
pub struct Sharded<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    layout: RwLock<Arc<Layout<S>>>,
    attempt_timeout: Duration,
}

/// A server of a [`Sharded`] store, returned by [`Sharded::servers`].
#[derive(Debug)]
#[non_exhaustive]
pub struct ShardServer<S> {
    /// Its name in the map.
    pub name: String,
    /// Its store, for calls that concern this server only.
    ///
    /// Do not create or rotate sessions with it before the server has joined: until then, it draws keys in all slots.
    pub store: Arc<S>,
    /// Its share of new sessions. 0 if it is closed for new sessions.
    pub share: u32,
    /// Whether the server has accepted the map. If not, the next call asks it again.
    pub has_joined: bool,
    /// Whether its last attempt to create a session succeeded, or is some time ago. If not, new sessions are created on
    /// the others.
    pub is_available: bool,
}

impl<S> Sharded<S> {
    /// Returns a builder for a store whose sessions are on the servers of this map.
    pub fn builder(map: ShardMap) -> ShardedBuilder<S> {
        ShardedBuilder::new(map)
    }

    /// Returns the map.
    pub fn map(&self) -> ShardMap {
        (*self.layout().map).clone()
    }

    /// Returns the servers, in the order of the map.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{MemoryStore, OwnedSession, ShardMap, Sharded, Store};
    ///
    /// /// The sessions of an owner on all servers that answer.
    /// fn owned_on_some<S: Store>(store: &Sharded<S>, owner: &str) -> Vec<OwnedSession> {
    ///     let answers = store.servers().into_iter().filter_map(|server| server.store.owned(owner).ok());
    ///     answers.flatten().collect()
    /// }
    ///
    /// let map = ShardMap::new(1).assign("a", 0..=1023)?;
    /// let store = Sharded::builder(map).server("a", MemoryStore::new()).build()?;
    /// assert!(owned_on_some(&store, "user 42").is_empty());
    /// # Ok::<(), session_postgres::Error>(())
    /// ```
    pub fn servers(&self) -> Vec<ShardServer<S>> {
        let layout = self.layout();
        let servers = layout.servers.iter().map(|server| ShardServer {
            name: server.name.clone(),
            store: server.store.clone(),
            share: server.share(),
            has_joined: server.has_joined(),
            is_available: server.is_good(),
        });
        servers.collect()
    }

    /// Returns the server with this name.
    pub fn server(&self, name: &str) -> Option<ShardServer<S>> {
        self.servers()
            .into_iter()
            .find(|server| server.name == name)
    }

    /// Returns the name of the server to which the slot of this key is assigned.
    ///
    /// If the map has an [origin](ShardMap::origin), the session may be there instead.
    pub fn server_of(&self, key: &Key) -> Option<String> {
        self.layout().map.server_of(key).map(str::to_owned)
    }

    /// Sets the share of new sessions that a server gets in this program, in proportion to the shares of the others. With 0,
    /// the server is closed for new sessions; those that it has live on until they end. If the server was left out because it
    /// has failed, it is tried again.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the map has no server with this name.
    pub fn set_share(&self, server: &str, share: u32) -> Result<(), Error> {
        match self.layout().server(server) {
            Some(server) => server.standing.set_share(share),
            None => {
                return Err(Error::InvalidOption(format!(
                    "the map has no server {server}"
                )));
            }
        }
        Ok(())
    }

    /// Returns a new random key for a session of this store: on a server that is open, or in the slot of `moved`.
    fn draw_key(&self, moved: Option<&Key>) -> Result<Key, Error> {
        if let Some(key) = moved {
            let slot = slot_of(key);
            return Key::generate_in(&Slots::new(&[slot..=slot]));
        }
        let layout = self.layout();
        match layout.choose(&[])? {
            Some(chosen) => layout.map.generate_key(&chosen.server.name),
            None => Err(create::all_closed()),
        }
    }

    /// Fails if both keys do not belong to the same server.
    fn check_same_server(&self, key: &Key, new: &Key) -> Result<(), Error> {
        let layout = self.layout();
        let [old, new] = [key, new].map(|key| layout.route(key).own);
        match (old, new) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => Ok(()),
            (None, None) => Ok(()),
            _ => Err(Error::OtherServer),
        }
    }

    fn layout(&self) -> Arc<Layout<S>> {
        // No code panics while it holds this lock.
        let layout = self.shared.layout.read();
        layout.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn attempt_timeout(&self) -> Duration {
        self.shared.attempt_timeout
    }
}

impl<S: Store> Sharded<S> {
    /// Returns the store of the server with the session of this key, for example for a transaction. A session that is
    /// created or rotated there stays on that server.
    ///
    /// If the map has an [origin](ShardMap::origin), the session is looked up.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Store::get), but not [`Error::NotSet`]. Without an origin, [`Error::NotFound`] only if the slot of the
    /// key is assigned to no server.
    pub fn store_of(&self, key: &Key) -> Result<Arc<S>, Error> {
        mode::wait(self.find_store::<OnThreads, _>(key, |store| async move {
            exists(store.get(key)).map(|()| store)
        }))
    }
}

impl<A: AsyncStore> Sharded<A> {
    /// Does the same as [`store_of`](Self::store_of), for async stores.
    ///
    /// # Errors
    ///
    /// Those of [`store_of`](Self::store_of).
    pub async fn store_of_async(&self, key: &Key) -> Result<Arc<A>, Error> {
        self.find_store::<OnTasks, _>(key, |store| async move {
            exists(store.get(key).await).map(|()| store)
        })
        .await
    }
}

impl<S> Clone for Sharded<S> {
    fn clone(&self) -> Self {
        Sharded {
            shared: self.shared.clone(),
        }
    }
}

impl<S> fmt::Debug for Sharded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharded")
            .field("map", &self.layout().map)
            .finish_non_exhaustive()
    }
}
