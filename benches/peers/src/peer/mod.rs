//! The peers. Each has a file.

mod axum_session;
mod deadpool;
mod ours;
pub(crate) mod pgbench;
mod r2d2;
mod statements;
mod tower_sessions;

use anyhow::{Result, bail};
use tokio_postgres::{Config, config::Host};

use crate::serve::{self, PeerHandler};

/// The facade with its defaults.
pub(crate) type Ours = ours::Facade<{ ours::DEFAULT }>;

/// tower-sessions-sqlx-store on a pool with its defaults.
pub(crate) type TowerSessions = tower_sessions::TowerSessions<true>;

/// A session store on its own database, with the same number of connections as all others.
pub(crate) trait Peer: Sized + Send + Sync + 'static {
    type Key: Clone + Send + Sync + 'static;

    /// If calls block, the callers are threads, otherwise tasks.
    const BLOCKS: bool = false;

    const TABLE: &str;

    /// Inserts sessions outside the measurement. Parameters: keys (`text[]`) and values of [`Peer::data`]
    /// (`bytea[]`).
    const INSERT: &str;

    /// Deletes sessions outside the measurement. Parameter: keys (`text[]`).
    const DELETE: &str;

    /// Connects and creates the table.
    fn open(url: &str) -> impl Future<Output = Result<Self>> + Send;

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

pub(crate) const OURS: &str = "session-postgres";
pub(crate) const ONE_BY_ONE: &str = "session-postgres, max_batch(1)";
pub(crate) const TWO_WORKERS: &str = "session-postgres, max_concurrency(2)";
pub(crate) const BLOCKING: &str = "session-postgres, blocking, threads";
pub(crate) const TOWER_SESSIONS: &str = "tower-sessions-sqlx-store";
pub(crate) const UNCHECKED: &str = "tower-sessions-sqlx-store, no ping";
pub(crate) const AXUM_SESSION: &str = "axum_session_sqlx";
pub(crate) const DEADPOOL: &str = "deadpool-postgres, prepared";
pub(crate) const R2D2: &str = "r2d2 in spawn_blocking";
pub(crate) const PGBENCH: &str = "pgbench -M prepared";

/// In the order of the tables.
pub(crate) const ALL: [&str; 10] = [
    OURS,
    ONE_BY_ONE,
    TWO_WORKERS,
    BLOCKING,
    DEADPOOL,
    TOWER_SESSIONS,
    UNCHECKED,
    AXUM_SESSION,
    R2D2,
    PGBENCH,
];

/// The peers that async programs can use instead of session-postgres.
pub(crate) const ASYNC_PEERS: [&str; 5] = [DEADPOOL, TOWER_SESSIONS, UNCHECKED, AXUM_SESSION, R2D2];

/// Runs the process of a peer.
pub(crate) fn serve(peer: &str, url: &str) -> Result<()> {
    match peer {
        OURS => serve::serve(PeerHandler::<Ours>::new(url)?),
        ONE_BY_ONE => serve::serve(PeerHandler::<ours::Facade<{ ours::ONE_BY_ONE }>>::new(url)?),
        TWO_WORKERS => serve::serve(PeerHandler::<ours::Facade<{ ours::TWO_WORKERS }>>::new(
            url,
        )?),
        BLOCKING => serve::serve(PeerHandler::<ours::Blocking>::new(url)?),
        TOWER_SESSIONS => serve::serve(PeerHandler::<TowerSessions>::new(url)?),
        UNCHECKED => serve::serve(PeerHandler::<tower_sessions::TowerSessions<false>>::new(
            url,
        )?),
        AXUM_SESSION => serve::serve(PeerHandler::<axum_session::AxumSession>::new(url)?),
        DEADPOOL => serve::serve(PeerHandler::<deadpool::Deadpool>::new(url)?),
        R2D2 => serve::serve(PeerHandler::<r2d2::R2d2>::new(url)?),
        PGBENCH => serve::serve(pgbench::Pgbench::new(url)?),
        _ => bail!("unknown peer {peer}"),
    }
}

/// Converts a connection string to the form that sqlx parses.
fn sqlx_url(url: &str) -> Result<String> {
    let config: Config = url.parse()?;
    match (config.get_hosts(), config.get_user(), config.get_dbname()) {
        ([Host::Unix(socket)], Some(user), Some(database)) => {
            let socket = socket.display();
            let port = config.get_ports().first().copied().unwrap_or(5432);
            Ok(format!(
                "postgres://{user}@localhost:{port}/{database}?host={socket}"
            ))
        }
        _ => bail!("the server does not listen on a Unix socket"),
    }
}
