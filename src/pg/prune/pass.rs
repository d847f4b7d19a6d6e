//! One pass around the table, statement by statement.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use postgres::{error::SqlState, types::ToSql};

use super::block_scan::BlockScan;
use crate::{
    Error,
    deadline::Deadline,
    pg::{PostgresStore, connection::Effect},
};

/// The most rows that the first statement of a pass removes. Later statements have the same or a higher limit,
/// unless the server has refused to remove a row.
const MIN_ROWS: u64 = 100;

/// The most rows that one statement removes. More are not faster, and hold their locks for longer. With 100, a
/// pass takes three times as long.
const MAX_ROWS: u64 = 1000;

/// The duration of a statement above which the next one removes fewer rows. It bounds how long another
/// transaction waits for one of its rows.
const TARGET_DURATION: Duration = Duration::from_millis(10);

/// The ratio of a pause to the statement before it. Callers that kept two processors busy lost 20 % of their
/// calls per second with 1, and 7 % with 3.
const PAUSE_RATIO: u32 = 3;

/// The longest pause after a statement.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// A pass ends after so many rows that cannot be removed, at the end of their block. Each costs several
/// statements, and the server logs those that fail.
const MAX_REFUSED: u64 = 1000;

/// The class of the advisory locks on sessions tables, "sess" in ASCII. The other half of a lock is the OID of
/// the table.
const LOCK_CLASS: i32 = 0x7365_7373;

/// One pass around the table.
pub(super) struct PruningPass<'a> {
    store: &'a PostgresStore,
    limit: u64,
    scan: BlockScan,
    /// The most rows that the next statement removes.
    rows: u64,
    /// How long the last statement took.
    took: Duration,
    pub(super) removed: u64,
    /// How many expired rows of the next blocks cannot be removed. The next statement skips so many.
    skipped: u64,
    /// How many rows the server has refused to remove.
    refused: u64,
    /// Why it refused the first.
    pub(super) refusal: Option<Error>,
}

/// How a pass continues after a statement.
pub(super) enum PruneProgress {
    More,
    /// The pass has gone around the whole table, or has reached its limit of rows removed or refused.
    Done,
    /// Another pass has the advisory lock.
    LockedOut,
}

impl<'a> PruningPass<'a> {
    pub(super) fn new(store: &'a PostgresStore, limit: u64) -> PruningPass<'a> {
        PruningPass {
            store,
            limit,
            scan: BlockScan::from(store.next_block_to_prune.load(Ordering::Relaxed)),
            rows: MIN_ROWS,
            took: Duration::ZERO,
            removed: 0,
            skipped: 0,
            refused: 0,
            refusal: None,
        }
    }

    /// Sends one statement. If it fails, sends another to find out whether the error concerns its rows.
    pub(super) fn step(&mut self) -> Result<PruneProgress, Error> {
        let rows = self.rows.min(self.limit - self.removed);
        if rows == 0 {
            return Ok(PruneProgress::Done);
        }
        let begun = Instant::now();
        let sent = self.send(rows);
        self.took = begun.elapsed();
        let answer = match sent {
            Ok(answer) => answer,
            Err(e) => return self.narrow(rows, e),
        };
        if !answer.has_lock {
            return Ok(PruneProgress::LockedOut);
        }
        self.removed += answer.removed;
        self.rows = match self.took > TARGET_DURATION {
            true => MIN_ROWS.max(self.rows / 2),
            false => MAX_ROWS.min(self.rows * 2),
        };
        if self.removed == self.limit {
            return Ok(PruneProgress::Done);
        }
        if answer.found >= rows {
            // There may be more in these blocks.
            self.skipped += answer.found - answer.removed;
            return Ok(PruneProgress::More);
        }
        self.skipped = 0;
        let has_more = self.scan.advance(answer.table_blocks) && self.refused < MAX_REFUSED;
        let next = self.scan.next;
        self.store
            .next_block_to_prune
            .store(next, Ordering::Relaxed);
        Ok(if has_more {
            PruneProgress::More
        } else {
            PruneProgress::Done
        })
    }

    /// Handles a failed statement for `rows` rows: the next one tries half as many. If it was for one row, the
    /// next one skips that row.
    fn narrow(&mut self, rows: u64, error: Error) -> Result<PruneProgress, Error> {
        let is_refusal = match &error {
            Error::Database(e) => e.code().is_some_and(|c| *c != SqlState::QUERY_CANCELED),
            _ => false,
        };
        // If a statement for no rows fails too, the error does not concern the rows.
        if !is_refusal || self.send(0).is_err() {
            return Err(error);
        }
        self.scan.narrow();
        self.rows = 1.max(rows / 2);
        if rows == 1 {
            self.skipped += 1;
            self.refused += 1;
            self.refusal.get_or_insert(error);
        }
        Ok(PruneProgress::More)
    }

    fn send(&self, rows: u64) -> Result<PruneAnswer, Error> {
        let sql = &self.store.sql.prune;
        let table = self.store.names.table.to_string();
        let numbers = [self.scan.next, self.scan.end(), rows, self.skipped];
        let numbers = numbers.map(|n| n as i64);
        self.store.with_connection(|connection| {
            let [from, until, rows, skipped] = &numbers;
            let params: [&(dyn ToSql + Sync); 6] =
                [&table, from, until, rows, &LOCK_CLASS, skipped];
            let answer = connection.query(sql, &params, Effect::None)?;
            let Some(row) = answer.first() else {
                return Ok(PruneAnswer::default());
            };
            Ok(PruneAnswer {
                has_lock: row.try_get(0)?,
                found: row.try_get::<_, i64>(1)? as u64,
                removed: row.try_get::<_, i64>(2)? as u64,
                table_blocks: row.try_get::<_, i64>(3)? as u64,
            })
        })
    }

    /// How long to wait before the next statement, so that other callers get the server.
    pub(super) fn pause(&self) -> Duration {
        (self.took * PAUSE_RATIO).min(MAX_PAUSE)
    }

    /// Whether a pause and another statement probably end before the deadline of this thread.
    pub(super) fn has_time_for_another(&self) -> bool {
        let needed = self.pause() + self.took * 2;
        Deadline::current().is_none_or(|deadline| deadline.remaining() > needed)
    }
}

/// The answer to one statement.
#[derive(Default)]
struct PruneAnswer {
    has_lock: bool,
    found: u64,
    removed: u64,
    /// The number of blocks of the table.
    table_blocks: u64,
}
