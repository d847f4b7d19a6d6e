//! Removing the rows of expired sessions, a few at a time.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use postgres::{error::SqlState, types::ToSql};

use super::{PostgresStore, connection::Effect};
use crate::{Error, deadline::Deadline};

/// How many blocks of the table one statement looks at at most: of the usual size, a megabyte.
const BLOCKS: u64 = 128;

/// How many rows one statement removes at first, and at least, unless one of so many cannot be removed.
const FEWEST: u64 = 100;

/// How many rows one statement removes at most: with more it is no faster, and holds its locks for longer;
/// with 100 it takes three times as long for all.
const MOST: u64 = 1000;

/// How long a statement should take. Its locks keep nobody for much longer who asks for one of its rows.
const LENGTH: Duration = Duration::from_millis(10);

/// For how many times as long as a statement took others then have the server to themselves. Callers that
/// kept two processors busy lost a fifth of their calls a second with 1, and a fourteenth with 3.
const REST: u32 = 3;

/// The longest rest after a statement.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// After how many rows that cannot be removed a sweep ends, at the end of their block. Each costs several
/// statements, and the server logs those that fail.
const MOST_REFUSED: u64 = 1000;

/// What stands for an advisory lock on a sessions table, beside the table's number: "sess" in ASCII.
const LOCK_CLASS: i32 = 0x7365_7373;

impl PostgresStore {
    /// Removes rows of expired sessions, at most `limit` of them, and says how many it has removed.
    ///
    /// No verb ever finds such a row: what it costs is space. So this may be called at any time and
    /// by any number of programs at once; each row is removed by one of them. A
    /// [`Pruner`](crate::Pruner) calls it now and then.
    ///
    /// It holds up nobody: it goes through the table in statements of at most 1,000 rows each, which
    /// take some milliseconds and are transactions of their own, rests between them, and leaves out
    /// rows that others have locked. Fewer rows than `limit` mean that it went once around the whole
    /// table, or that its time was nearly up. The next call goes on where this one has ended.
    ///
    /// Each statement reads a megabyte of the table, so a call that finds nothing takes, with its rests,
    /// about four times as long as one `SELECT count(*)`. There is no index on the expiry date: with one,
    /// no `set` is a heap-only update any more, and each writes more than half as much again (405 bytes of
    /// WAL instead of 256).
    /// Of a table with children by inheritance, partitions not meant, it sees only the blocks that the
    /// parent has. PostgreSQL 13 cannot read a part of a table: there each statement reads all of it.
    ///
    /// The space is free for new rows once the server's autovacuum has seen to it.
    ///
    /// # Time
    ///
    /// The store's [`timeout`](crate::PostgresStoreBuilder::timeout) is that of each statement, not of
    /// them all. Within [`Offload::run`](crate::Offload::run) it ends shortly before the facade's
    /// timeout, and says what it has removed by then.
    ///
    /// # Errors
    ///
    /// Any of the store; nothing has been removed then. A statement that fails after others have removed
    /// rows ends the call early, without an error.
    ///
    /// A row that the server refuses to remove, for example because a row of another table refers to it or
    /// because a trigger raises an error, is passed over, and the others are removed. The first such error is
    /// returned if no row has been removed. After 1,000 such rows the call ends early.
    ///
    /// Where a connection breaks, up to 1,000 rows may be removed that are not counted.
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
        let mut sweep = Sweep::new(self, limit, Turn::Anybodys);
        let error = loop {
            match sweep.step() {
                Ok(Step::More) if sweep.fits_again() => thread::sleep(sweep.rest()),
                Ok(_) => break sweep.refusal,
                Err(e) => break Some(e),
            }
        };
        match error {
            Some(e) if sweep.removed == 0 => Err(e),
            _ => Ok(sweep.removed),
        }
    }
}

/// Who may remove rows at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Anybodys,
    /// Nobody else who goes by this: whoever removes rows has the table's advisory lock.
    Ones,
}

/// Once around the table, statement by statement.
pub(crate) struct Sweep<'a> {
    store: &'a PostgresStore,
    turn: Turn,
    limit: u64,
    round: Round,
    /// How many rows the next statement removes at most.
    rows: u64,
    /// How long the last one took.
    took: Duration,
    pub(crate) removed: u64,
    /// How many expired rows of the next blocks stay where they are: they come first, so the next statement
    /// passes over so many.
    passed_over: u64,
    /// How many rows the server has refused to remove, and why it refused the first.
    refused: u64,
    pub(crate) refusal: Option<Error>,
}

/// What comes after a statement.
pub(crate) enum Step {
    More,
    /// The whole table has been gone through, or the limit is reached, or too many rows cannot be removed.
    Done,
    /// Somebody else is at it.
    Elsewhere,
}

impl<'a> Sweep<'a> {
    pub(crate) fn new(store: &'a PostgresStore, limit: u64, turn: Turn) -> Sweep<'a> {
        Sweep {
            store,
            turn,
            limit,
            round: Round::from(store.pruned_to.load(Ordering::Relaxed)),
            rows: FEWEST,
            took: Duration::ZERO,
            removed: 0,
            passed_over: 0,
            refused: 0,
            refusal: None,
        }
    }

    /// Sends one statement, and another if it fails.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        let rows = self.rows.min(self.limit - self.removed);
        if rows == 0 {
            return Ok(Step::Done);
        }
        let begun = Instant::now();
        let sent = self.send(rows);
        self.took = begun.elapsed();
        let done = match sent {
            Ok(done) => done,
            Err(e) => return self.narrow(rows, e),
        };
        if !done.has_turn {
            return Ok(Step::Elsewhere);
        }
        self.removed += done.removed;
        self.rows = match self.took > LENGTH {
            true => FEWEST.max(self.rows / 2),
            false => MOST.min(self.rows * 2),
        };
        if self.removed == self.limit {
            return Ok(Step::Done);
        }
        if done.found >= rows {
            // There may be more in these blocks.
            self.passed_over += done.found - done.removed;
            return Ok(Step::More);
        }
        self.passed_over = 0;
        let goes_on = self.round.advance(done.blocks) && self.refused < MOST_REFUSED;
        let at = self.round.at;
        self.store.pruned_to.store(at, Ordering::Relaxed);
        Ok(if goes_on { Step::More } else { Step::Done })
    }

    /// After a statement for so many rows has failed, has the next one try fewer, or pass over the one row
    /// that it was for.
    fn narrow(&mut self, rows: u64, error: Error) -> Result<Step, Error> {
        let is_refusal = match &error {
            Error::Database(e) => e.code().is_some_and(|c| *c != SqlState::QUERY_CANCELED),
            _ => false,
        };
        // If a statement for no rows fails too, the error is not about rows.
        if !is_refusal || self.send(0).is_err() {
            return Err(error);
        }
        self.round.narrow();
        self.rows = 1.max(rows / 2);
        if rows == 1 {
            self.passed_over += 1;
            self.refused += 1;
            self.refusal.get_or_insert(error);
        }
        Ok(Step::More)
    }

    fn send(&self, rows: u64) -> Result<Sent, Error> {
        let sql = &self.store.sql.prune;
        let table = self.store.table.to_string();
        let numbers = [self.round.at, self.round.until(), rows, self.passed_over];
        let numbers = numbers.map(|n| n as i64);
        let class = (self.turn == Turn::Ones).then_some(LOCK_CLASS);
        self.store.with_connection(|connection| {
            let [from, until, rows, passed_over] = &numbers;
            let params: [&(dyn ToSql + Sync); 6] = [&table, from, until, rows, &class, passed_over];
            let answer = connection.query(sql, &params, Effect::None)?;
            let Some(row) = answer.first() else {
                return Ok(Sent::default());
            };
            Ok(Sent {
                has_turn: row.try_get(0)?,
                found: row.try_get::<_, i64>(1)? as u64,
                removed: row.try_get::<_, i64>(2)? as u64,
                blocks: row.try_get::<_, i64>(3)? as u64,
            })
        })
    }

    /// For how long others are to have the server to themselves before the next statement.
    pub(crate) fn rest(&self) -> Duration {
        (self.took * REST).min(LONGEST_REST)
    }

    /// Whether another statement is likely to fit into the time of the call that this is part of.
    fn fits_again(&self) -> bool {
        let needed = self.rest() + self.took * 2;
        Deadline::current().is_none_or(|deadline| deadline.remaining() > needed)
    }
}

/// What a statement says.
#[derive(Default)]
struct Sent {
    has_turn: bool,
    found: u64,
    removed: u64,
    /// How many blocks the table has.
    blocks: u64,
}

/// The way around a table, from a block in its middle to its end, and from its first block to there.
struct Round {
    start: u64,
    at: u64,
    /// How many blocks to look at next.
    span: u64,
    has_been_at_the_end: bool,
}

impl Round {
    fn from(start: u64) -> Round {
        Round {
            start,
            at: start,
            span: BLOCKS,
            has_been_at_the_end: false,
        }
    }

    /// The end of the next blocks to look at.
    fn until(&self) -> u64 {
        let until = (self.at + self.span).min(u32::MAX.into());
        if self.has_been_at_the_end {
            until.min(self.start)
        } else {
            until
        }
    }

    /// Looks at fewer blocks, until it has gone past them.
    fn narrow(&mut self) {
        self.span = 1.max(self.span / 2);
    }

    /// Goes on, in a table of so many blocks, if there is a way to go.
    fn advance(&mut self, blocks: u64) -> bool {
        self.at = self.until();
        self.span = BLOCKS.min(self.span * 2);
        if !self.has_been_at_the_end && self.at >= blocks {
            self.has_been_at_the_end = true;
            self.start = self.start.min(blocks);
            self.at = 0;
        }
        !self.has_been_at_the_end || self.at < self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which blocks of a table of so many are looked at, in turn.
    fn looked_at(start: u64, blocks: u64) -> Vec<(u64, u64)> {
        let mut round = Round::from(start);
        let mut parts = Vec::new();
        loop {
            parts.push((round.at, round.until()));
            if !round.advance(blocks) {
                return parts;
            }
        }
    }

    #[test]
    fn a_round_sees_each_block_once() {
        assert_eq!(looked_at(0, 0), [(0, 128)]);
        assert_eq!(looked_at(0, 128), [(0, 128)]);
        assert_eq!(looked_at(0, 129), [(0, 128), (128, 256)]);
        assert_eq!(looked_at(128, 200), [(128, 256), (0, 128)]);
        assert_eq!(
            looked_at(300, 500),
            [(300, 428), (428, 556), (0, 128), (128, 256), (256, 300)]
        );
    }

    #[test]
    fn a_round_that_was_narrowed_misses_no_block_and_widens_again() {
        let mut round = Round::from(0);
        for _ in 0..4 {
            round.narrow();
        }
        let mut parts = Vec::new();
        while parts.len() < 6 {
            parts.push((round.at, round.until()));
            round.advance(1_000);
        }
        let widened = [(0, 8), (8, 24), (24, 56), (56, 120), (120, 248), (248, 376)];
        assert_eq!(parts, widened);
        for _ in 0..10 {
            round.narrow();
        }
        assert_eq!((round.at, round.until()), (376, 377));
    }

    #[test]
    fn a_table_that_has_shrunk_is_gone_through_no_further_than_its_end() {
        assert_eq!(
            looked_at(1_000_000, 100),
            [(1_000_000, 1_000_128), (0, 100)]
        );
    }
}
