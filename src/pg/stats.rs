//! The counters of a store.

use std::{sync::Mutex, time::Duration};

use super::{
    PostgresStore,
    connection_source::{ConnectionSource, PoolState},
    mutex::lock,
};
use crate::{
    BatchSizes, CallStats, DatabaseError, Error, Method, Pruned, PrunerStats,
    deadline::Deadline,
    observe::{
        BatchCounters, CallCounters, Counter, Gauge, Histogram, STORE, error_of, errors_of, trace,
        trace::Span,
    },
};

/// The counters of a [`PostgresStore`], returned by [`PostgresStore::stats`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreStats {
    /// Calls by method, and errors by kind. The calls of a [`SessionTransaction`](crate::SessionTransaction) are not
    /// counted.
    pub calls: CallStats,
    /// How many calls were executed together. The calls of a `_many` method are one batch.
    pub batches: BatchSizes,
    /// Further attempts at a call after the first has failed.
    pub retries: u64,
    /// Connections that broke, or that were found broken.
    pub broken_connections: u64,
    /// Connections that no store had used before. If it grows together with `broken_connections`, the store has
    /// reconnected.
    pub new_connections: u64,
    /// Errors of attempts to connect that the pool has reported to a call. The pool reports each error once, and only
    /// while a call waits for a connection.
    pub connect_failures: u64,
    /// Statements for which a cancel request was sent, because they had not ended at their deadline.
    pub cancelled_statements: u64,
    /// The connections of the store now.
    pub connections: ConnectionStats,
    /// The passes of [`Store::prune_pass`](crate::Store::prune_pass) on this store, also those of a
    /// [`Pruner`](crate::Pruner).
    pub pruning: PrunerStats,
}

/// The connections of a [`PostgresStore`], as a part of [`StoreStats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Connections that calls use now. On a pool of the program, this includes other users of the pool.
    pub in_use: usize,
    /// Open connections that are not in use.
    pub idle: usize,
    /// Connections that are being opened. `None` on a pool or client of the program, which does not tell.
    pub opening: Option<usize>,
    /// The largest number of connections.
    pub max: usize,
}

pub(super) struct StoreCounters {
    calls: CallCounters,
    batches: BatchCounters,
    retries: Counter,
    broken_connections: Counter,
    new_connections: Counter,
    connect_failures: Counter,
    cancelled_statements: Counter,
    statement_seconds: Histogram,
    in_use: Gauge,
    idle: Gauge,
    counting: Mutex<()>,
    last_pruning_error: Mutex<Option<Error>>,
    pruned_rows: Counter,
    passes: Counter,
    skipped_passes: Counter,
    failed_passes: Counter,
}

impl StoreCounters {
    pub(super) fn new(slow_threshold: Duration) -> StoreCounters {
        let state = |state| Gauge::labelled(STORE.connections, Some(("state", state)));
        let passes = |outcome| Counter::labelled(STORE.prune_passes, Some(("outcome", outcome)));
        StoreCounters {
            calls: CallCounters::new(&STORE.calls, slow_threshold),
            batches: BatchCounters::new(&STORE.calls),
            retries: Counter::new(STORE.retries),
            broken_connections: Counter::new(STORE.broken_connections),
            new_connections: Counter::new(STORE.new_connections),
            connect_failures: Counter::new(STORE.connect_failures),
            cancelled_statements: Counter::new(STORE.cancelled_statements),
            statement_seconds: Histogram::new(STORE.statement_seconds),
            in_use: state("in_use"),
            idle: state("idle"),
            counting: Mutex::default(),
            last_pruning_error: Mutex::default(),
            pruned_rows: Counter::new(STORE.pruned_rows),
            passes: passes("complete"),
            skipped_passes: passes("skipped"),
            failed_passes: passes("failed"),
        }
    }

    pub(super) fn retry(&self, attempt: u32, error: &Error) {
        self.retries.add(1);
        trace::retry(attempt, error);
    }

    pub(super) fn broken_connection(&self, error: &DatabaseError) {
        self.broken_connections.add(1);
        trace::broken_connection(error);
    }

    pub(super) fn new_connection(&self) {
        self.new_connections.add(1);
        trace::new_connection();
    }

    pub(super) fn connect_failure(&self, error: &str) {
        self.connect_failures.add(1);
        trace::connect_failure(error);
    }

    pub(super) fn cancelled_statement(&self) {
        self.cancelled_statements.add(1);
        trace::cancelled_statement();
    }

    /// Measures a statement that was answered after this time.
    pub(super) fn statement(&self, took: Duration) {
        self.statement_seconds.record_time(took);
    }

    /// Counts the connections for the crate `metrics`, each time that a call takes or returns one.
    pub(super) fn connections(&self, source: &dyn ConnectionSource) {
        if cfg!(feature = "metrics") {
            // Otherwise a thread could replace newer numbers by older ones.
            let _one_at_a_time = lock(&self.counting);
            let state = source.state();
            self.in_use.set(state.in_use);
            self.idle.set(state.idle);
        }
    }

    fn pass(&self, pass: Pruned) {
        self.pruned_rows.add(pass.removed);
        match &pass.error {
            Some(_) => self.failed_passes.add(1),
            None if pass.is_skipped => self.skipped_passes.add(1),
            None => self.passes.add(1),
        }
        *lock(&self.last_pruning_error) = pass.error;
    }

    fn pruning(&self) -> PrunerStats {
        PrunerStats {
            removed: self.pruned_rows.get(),
            passes: self.passes.get(),
            yields: self.skipped_passes.get(),
            failures: self.failed_passes.get(),
            last_error: lock(&self.last_pruning_error).clone(),
        }
    }
}

impl PostgresStore {
    /// Returns the counters of this store. It never waits for a connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{Method, PostgresStore, Store};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::connect(url)?;
    /// store.create_table()?;
    /// store.generate(None, None)?;
    ///
    /// let stats = store.stats();
    /// assert_eq!((stats.calls.of(Method::Generate), stats.calls.errors()), (1, 0));
    /// assert_eq!((stats.broken_connections, stats.connections.in_use), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> StoreStats {
        let counters = &self.counters;
        let PoolState {
            in_use,
            idle,
            opening,
        } = self.source.state();
        StoreStats {
            calls: counters.calls.get(),
            batches: counters.batches.get(),
            retries: counters.retries.get(),
            broken_connections: counters.broken_connections.get(),
            new_connections: counters.new_connections.get(),
            connect_failures: counters.connect_failures.get(),
            cancelled_statements: counters.cancelled_statements.get(),
            connections: ConnectionStats {
                in_use,
                idle,
                opening,
                max: self.source.max_connections().get(),
            },
            pruning: counters.pruning(),
        }
    }

    /// Makes one call of a method.
    pub(super) fn one<T>(
        &self,
        method: Method,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.counters.batches.count(1);
        self.observe(method, 1, work, error_of)
    }

    /// Makes calls of a method that are executed together.
    pub(super) fn many<T>(
        &self,
        method: Method,
        calls: usize,
        work: impl FnOnce() -> Vec<Result<T, Error>>,
    ) -> Vec<Result<T, Error>> {
        self.counters.batches.count(calls);
        self.observe(method, calls, work, errors_of)
    }

    fn observe<T>(
        &self,
        method: Method,
        calls: usize,
        work: impl FnOnce() -> T,
        errors: impl FnOnce(&T) -> Vec<&Error>,
    ) -> T {
        Span::of_store(method, calls).in_scope(|| {
            let call = self.counters.calls.begin(method, calls);
            let done = work();
            call.end(errors(&done));
            done
        })
    }

    /// Makes a pass for expired rows.
    pub(super) fn one_pass(&self, work: impl FnOnce() -> Pruned) -> Pruned {
        let pass = self.observe(Method::Prune, 1, work, |pass| pass.error.iter().collect());
        // A pruner that is dropped stops its pass at once, which is no failure.
        let is_stopped = Deadline::current().is_some_and(|deadline| deadline.has_passed());
        self.counters.pass(match is_stopped {
            true => Pruned {
                removed: pass.removed,
                is_skipped: true,
                error: None,
            },
            false => pass.clone(),
        });
        pass
    }
}
