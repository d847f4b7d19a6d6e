//! The peers. Each has a file, or shares one with its variants.

mod axum_session;
mod deadpool;
mod names;
mod ours;
pub(crate) mod pgbench;
mod r2d2;
mod statements;
mod tower_sessions;

use anyhow::{Result, bail};
use session_postgres::ShardMap;
use tokio_postgres::{Config, config::Host};

pub(crate) use self::names::*;
use self::tower_sessions::{Redis, Sqlx};
use crate::{
    admin::Admin,
    serve::{self, PeerHandler},
};

/// The facade.
pub(crate) type Ours = ours::Facade;

pub(crate) use self::ours::Setting;

/// tower-sessions-sqlx-store on a pool with its defaults.
pub(crate) type TowerSessions = tower_sessions::TowerSessions<Sqlx<true>>;

/// A session store on its own database, with the same number of connections as all others.
pub(crate) trait Peer: Sized + Send + Sync + 'static {
    type Key: Clone + Send + Sync + 'static;

    /// The access to its server outside of the measurements.
    type Admin: Admin;

    /// The differences between its variants.
    type Options: Default + Send + Sync;

    /// If calls block, the callers are threads, otherwise tasks.
    const BLOCKS: bool = false;

    const TABLE: <Self::Admin as Admin>::Table;

    /// Connects, and creates the table if it does not exist.
    fn open(url: &str, options: &Self::Options) -> impl Future<Output = Result<Self>> + Send;

    fn new_key() -> Result<Self::Key>;

    /// Returns the key as the table has it.
    fn text(key: &Self::Key) -> String;

    /// Returns the value as the table has it.
    fn data(_: &Self::Key, value: String) -> Result<Vec<u8>> {
        Ok(value.into_bytes())
    }

    /// Returns the value of a session that exists.
    fn load(&self, key: &Self::Key) -> impl Future<Output = Result<String>> + Send;

    /// Replaces the value of a session that exists.
    fn save(&self, key: &Self::Key, value: String) -> impl Future<Output = Result<()>> + Send;

    /// Returns the value of a session that exists, and keeps its visitor logged in. A store without such a call
    /// saves the value that it has loaded.
    fn renew(&self, key: &Self::Key) -> impl Future<Output = Result<String>> + Send {
        async {
            let value = self.load(key).await?;
            self.save(key, value.clone()).await?;
            Ok(value)
        }
    }

    /// Creates a session and returns its new key.
    fn create(&self, value: String) -> impl Future<Output = Result<Self::Key>> + Send;

    fn delete(&self, key: &Self::Key) -> impl Future<Output = Result<()>> + Send;
}

/// Returns the map of a sharded store with servers that are named by their numbers, from 0 on. All get as many slots.
pub(crate) fn shard_map(servers: usize) -> Result<ShardMap> {
    let mut map = ShardMap::new(1);
    for server in 0..servers {
        let begin = |server: usize| (server * 4096 / servers) as u16;
        map = map.assign(&server.to_string(), begin(server)..=begin(server + 1) - 1)?;
    }
    Ok(map)
}

/// Runs the process of a peer.
pub(crate) fn serve(peer: &str, url: &str) -> Result<()> {
    match peer {
        OURS => run::<Ours>(url, ours::Setting::Default),
        ONE_BY_ONE => run::<Ours>(url, ours::Setting::MaxBatch(1)),
        SHARDED | SHARDED_3 => run::<ours::Facade<ours::Sharded>>(url, ours::Setting::Default),
        BLOCKING => run::<ours::Blocking>(url, ()),
        TOWER_SESSIONS => run::<TowerSessions>(url, ()),
        UNCHECKED => run::<tower_sessions::TowerSessions<Sqlx<false>>>(url, ()),
        AXUM_SESSION => run::<axum_session::AxumSession>(url, ()),
        DEADPOOL => run::<deadpool::Deadpool>(url, ()),
        R2D2 => run::<r2d2::R2d2>(url, ()),
        REDIS | REDIS_ALWAYS => run::<tower_sessions::TowerSessions<Redis>>(url, ()),
        PGBENCH => serve::serve(pgbench::Pgbench::new(url)?),
        _ => match workers_of(peer) {
            Some(workers) => run::<Ours>(url, ours::Setting::Workers(workers)),
            None => bail!("unknown peer {peer}"),
        },
    }
}

fn run<P: Peer>(url: &str, options: P::Options) -> Result<()> {
    serve::serve(PeerHandler::<P>::new(url, options)?)
}

/// Converts a connection string to the form that sqlx parses.
fn sqlx_url(url: &str) -> Result<String> {
    let config: Config = url.parse()?;
    match (
        config.get_hosts(),
        config.get_ports(),
        config.get_user(),
        config.get_dbname(),
    ) {
        ([Host::Tcp(host)], [port], Some(user), Some(database)) => {
            Ok(format!("postgres://{user}@{host}:{port}/{database}"))
        }
        _ => bail!("the server has no TCP port"),
    }
}
