//! Removing the rows of expired sessions.
//!
//! [`pass`] goes once around the table, one statement at a time. [`block_scan`] says which blocks of the table a
//! statement looks at.

mod block_scan;
mod pass;

use std::thread;

use self::pass::{PruneProgress, PruningPass};
use super::PostgresStore;
use crate::{Error, Pruned, Store};

impl PostgresStore {
    /// Removes at most `limit` rows of expired sessions, and returns how many it has removed.
    ///
    /// Expired sessions are absent for all other calls, so their rows only take up space. This may be called at
    /// any time. A [`Pruner`](crate::Pruner) does the same at intervals.
    ///
    /// Only one program removes rows of a table at any time. If the call finds another one doing that, it ends and
    /// returns how many rows it has removed so far. Each statement takes an advisory lock for its transaction, so this
    /// also works behind a pooler. This query shows which connection has the lock:
    ///
    /// ```sql
    /// SELECT pid, objid::regclass FROM pg_locks
    /// WHERE locktype = 'advisory' AND classid = 1936028531 AND objsubid = 2;
    /// ```
    ///
    /// Other calls are hardly delayed. Each statement is a transaction that removes at most 1,000 rows, which
    /// takes some milliseconds. It skips rows that other transactions have locked. The call pauses after each
    /// statement for three times as long as the statement took, at most 100 ms.
    ///
    /// If fewer rows than `limit` are removed, the call has gone once around the whole table or has almost run out
    /// of time. The next call continues where this one has ended.
    ///
    /// # Cost
    ///
    /// Each statement reads a megabyte of the table. With its pauses, a call that finds nothing takes about four
    /// times as long as one `SELECT count(*)`.
    ///
    /// There is no index on the expiry date. With one, no `set` could be a heap-only update, and each would write
    /// 405 bytes of WAL instead of 256.
    ///
    /// The removed rows' space can be reused once autovacuum has processed the table.
    ///
    /// # Limitations
    ///
    /// If other tables inherit from the sessions table, the call reads each of them only up to the number of blocks
    /// of the sessions table. This does not concern partitions.
    ///
    /// PostgreSQL 13 cannot read a part of a table, so each statement reads all of it.
    ///
    /// # Time
    ///
    /// The store's [`timeout`](crate::PostgresStoreBuilder::timeout) applies to each statement. The call as a
    /// whole has no time limit, except within [`Offload::run`](crate::Offload::run). There it ends shortly
    /// before the facade's timeout and returns how many rows it has removed so far.
    ///
    /// # Errors
    ///
    /// Any error of the store, if no row has been removed. If a statement fails after others have removed rows,
    /// the call ends early and returns their number.
    ///
    /// A row that the server refuses to remove is skipped, for example because a row of another table refers to it
    /// or because a trigger raises an error. The first such error is returned if no row has been removed. After
    /// 1,000 such rows the call ends early.
    ///
    /// If a connection breaks, up to 1,000 rows may be removed that are not counted.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{Period, PostgresStore, Store};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::connect(url)?;
    /// store.create_table()?;
    /// store.generate(Some("over"), Some(Period::ZERO))?;
    /// let living = store.generate(Some("lobster"), None)?;
    ///
    /// assert_eq!(store.prune(10_000)?, 1);
    /// assert_eq!(store.prune(10_000)?, 0);
    /// assert_eq!(store.get(&living)?.value, "lobster");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prune(&self, limit: u64) -> Result<u64, Error> {
        Store::prune(self, limit)
    }

    /// Goes once around the table.
    pub(super) fn prune_once(&self, limit: u64) -> Pruned {
        let mut pass = PruningPass::new(self, limit);
        let (is_skipped, error) = loop {
            match pass.step() {
                Ok(PruneProgress::More) if pass.has_time_for_another() => {
                    thread::sleep(pass.pause());
                }
                Ok(PruneProgress::LockedOut) => break (true, None),
                Ok(_) => break (false, pass.refusal),
                Err(e) => break (false, Some(e)),
            }
        };
        Pruned {
            removed: pass.removed,
            is_skipped,
            error,
        }
    }
}
