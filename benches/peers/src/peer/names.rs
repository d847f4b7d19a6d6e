//! The names of the peers.

pub(crate) const OURS: &str = "session-postgres";
pub(crate) const ONE_BY_ONE: &str = "session-postgres, max_batch(1)";
pub(crate) const BLOCKING: &str = "session-postgres, blocking, threads";
pub(crate) const SHARDED: &str = "session-postgres, Sharded, 1 server";
pub(crate) const SHARDED_3: &str = "session-postgres, Sharded, 3 servers";
pub(crate) const TOWER_SESSIONS: &str = "tower-sessions-sqlx-store";
pub(crate) const UNCHECKED: &str = "tower-sessions-sqlx-store, no ping";
pub(crate) const AXUM_SESSION: &str = "axum_session_sqlx";
pub(crate) const DEADPOOL: &str = "deadpool-postgres, prepared";
pub(crate) const R2D2: &str = "r2d2 in spawn_blocking";
pub(crate) const PGBENCH: &str = "pgbench -M prepared";
pub(crate) const REDIS: &str = "tower-sessions-redis-store, no persistence";
pub(crate) const REDIS_ALWAYS: &str = "tower-sessions-redis-store, appendfsync always";

/// The stores in PostgreSQL that async programs can use instead of session-postgres.
pub(crate) const ASYNC_PEERS: [&str; 5] = [DEADPOOL, TOWER_SESSIONS, UNCHECKED, AXUM_SESSION, R2D2];

/// What is not a variant of session-postgres, in the order of the tables.
pub(crate) const OTHERS: [&str; 8] = [
    DEADPOOL,
    TOWER_SESSIONS,
    UNCHECKED,
    AXUM_SESSION,
    R2D2,
    PGBENCH,
    REDIS,
    REDIS_ALWAYS,
];

const WORKERS: (&str, &str) = ("session-postgres, max_concurrency(", ")");

/// Returns all peers in the order of the tables, with a variant of session-postgres for each number of workers, and with the
/// sharded stores if they are wanted.
pub(crate) fn all(workers: &[usize], has_sharded: bool) -> Vec<String> {
    let mut names = vec![OURS.to_owned(), ONE_BY_ONE.to_owned()];
    let (before, after) = WORKERS;
    names.extend(
        workers
            .iter()
            .map(|workers| format!("{before}{workers}{after}")),
    );
    if has_sharded {
        names.extend([SHARDED, SHARDED_3].map(str::to_owned));
    }
    names.push(BLOCKING.to_owned());
    names.extend(OTHERS.map(str::to_owned));
    names
}

/// Returns the number of workers of a variant of session-postgres that has a fixed number.
pub(super) fn workers_of(peer: &str) -> Option<usize> {
    let (before, after) = WORKERS;
    let number = peer.strip_prefix(before)?.strip_suffix(after)?;
    number.parse().ok()
}
