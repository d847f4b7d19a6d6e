//! The peers, a file each.

mod axum_session;
mod by_hand;
mod deadpool;
mod ours;
pub(crate) mod pgbench;
mod r2d2;
mod tower_sessions;

use anyhow::{Result, bail};
use tokio_postgres::{Config, config::Host};

use crate::side::{self, Callers};

/// Keeps sessions in PostgreSQL, in its own way, in a database of its own, on as many connections as
/// everybody has.
pub(crate) trait Peer: Sized + Send + Sync + 'static {
    type Key: Clone + Send + Sync + 'static;

    /// Whether calls block: then callers are threads, else tasks.
    const BLOCKS: bool = false;

    /// Its table.
    const TABLE: &str;

    /// Puts many sessions into the table, where no time is measured. Parameters: keys (`text[]`), values
    /// as [`Peer::data`] has them (`bytea[]`).
    const INSERT: &str;

    /// Takes many out. Parameters: keys (`text[]`).
    const DELETE: &str;

    /// Connects, and makes the table in its own way.
    fn open(url: &str) -> impl Future<Output = Result<Self>> + Send;

    fn new_key() -> Result<Self::Key>;

    /// The key as it is in the table.
    fn text(key: &Self::Key) -> String;

    /// The value as it is in the table.
    fn data(_: &Self::Key, value: String) -> Result<Vec<u8>> {
        Ok(value.into_bytes())
    }

    /// What one would do for a session that a request names: it is there.
    fn load(&self, key: &Self::Key) -> impl Future<Output = Result<String>> + Send;

    /// A session that is there gets this value.
    fn save(&self, key: &Self::Key, value: String) -> impl Future<Output = Result<()>> + Send;

    /// A new session, with a new key.
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

/// What other people's async code uses.
pub(crate) const ASYNC_PEERS: [&str; 5] = [DEADPOOL, TOWER_SESSIONS, UNCHECKED, AXUM_SESSION, R2D2];

/// Is that peer until there are no more orders.
pub(crate) fn serve(peer: &str, url: &str) -> Result<()> {
    match peer {
        OURS => side::serve(Callers::<ours::Facade<{ ours::DEFAULT }>>::new(url)?),
        ONE_BY_ONE => side::serve(Callers::<ours::Facade<{ ours::ONE_BY_ONE }>>::new(url)?),
        TWO_WORKERS => side::serve(Callers::<ours::Facade<{ ours::TWO_WORKERS }>>::new(url)?),
        BLOCKING => side::serve(Callers::<ours::Blocking>::new(url)?),
        TOWER_SESSIONS => side::serve(Callers::<tower_sessions::TowerSessions<true>>::new(url)?),
        UNCHECKED => side::serve(Callers::<tower_sessions::TowerSessions<false>>::new(url)?),
        AXUM_SESSION => side::serve(Callers::<axum_session::AxumSession>::new(url)?),
        DEADPOOL => side::serve(Callers::<deadpool::Deadpool>::new(url)?),
        R2D2 => side::serve(Callers::<r2d2::R2d2>::new(url)?),
        PGBENCH => side::serve(pgbench::Pgbench::new(url)?),
        _ => bail!("there is no peer {peer}"),
    }
}

/// The connection string as sqlx takes it.
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
        _ => bail!("the server is not behind a socket"),
    }
}
