//! A thread that removes expired rows now and then.

use std::{
    any::Any,
    fmt,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rand::{TryRng, rngs::SysRng};

use crate::{
    Error, PostgresStore,
    deadline::Deadline,
    pg::{Step, Sweep, Turn},
};

/// By how much the time between two passes may be shorter or longer.
const JITTER: f64 = 0.2;

/// Longer intervals are as this one: a sum of times has to fit its type.
const LONGEST_INTERVAL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Removes the rows of expired sessions in the background, as long as it is kept.
///
/// A thread of its own, named `session-pruner`, calls for a pass through the table at once, and then
/// every [`interval`](PrunerBuilder::interval). It goes about it as [`PostgresStore::prune`] does, in
/// small statements that hold up nobody, through the connections of the store, one at a time.
///
/// Of many programs that do this to one table only one removes rows at any time. Who finds another at
/// it leaves the pass to that one. For this, each statement tries to get an advisory lock of its
/// transaction, which a pooler cannot mix up. Who has it at the moment, tells
///
/// ```sql
/// SELECT pid, objid::regclass FROM pg_locks
/// WHERE locktype = 'advisory' AND classid = 1936028531 AND objsubid = 2;
/// ```
///
/// Nothing ends it but its end: a pass that fails is counted, and the next one comes when it is due.
/// [`stats`](Pruner::stats) tells.
///
/// # Dropping
///
/// Dropping it ends it. That takes no time, wherever it happens: the thread ends by itself, as soon as
/// the server has cancelled the statement that it waits for, and drops its hold of the store there. Where
/// it waits for a connection of the pool, that takes as long as the store's
/// [`timeout`](crate::PostgresStoreBuilder::timeout).
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use session_postgres::{PostgresStore, Pruner};
///
/// # let server = throwaway_postgres::Server::start()?;
/// # let url = server.url();
/// let store = Arc::new(PostgresStore::connect(url)?);
/// store.create_table()?;
///
/// let pruner = Pruner::builder().interval(Duration::from_secs(60)).start(store.clone());
/// // Serve visitors, and look after it now and then.
/// if let Some(error) = pruner.stats().last_error {
///     eprintln!("expired sessions stay where they are: {error}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it ends when it is dropped"]
pub struct Pruner {
    shared: Arc<Shared>,
    /// Ends what the thread does on the server.
    deadline: Deadline,
}

impl Pruner {
    /// Starts one with the default options; see [`PrunerBuilder::start`].
    ///
    /// # Panics
    ///
    /// Where the system has no thread left.
    pub fn start<P>(store: P) -> Pruner
    where
        P: Deref<Target = PostgresStore> + Send + 'static,
    {
        Pruner::builder().start(store)
    }

    /// One with other than the default options.
    pub fn builder() -> PrunerBuilder {
        PrunerBuilder::default()
    }

    /// How it does, as of now.
    pub fn stats(&self) -> PrunerStats {
        self.shared.state().stats.clone()
    }
}

impl Drop for Pruner {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.over.notify_all();
        self.deadline.expire();
    }
}

impl fmt::Debug for Pruner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pruner")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Options for a [`Pruner`]; made by [`Pruner::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until a pruner is started"]
pub struct PrunerBuilder {
    interval: Duration,
    limit: u64,
}

impl Default for PrunerBuilder {
    fn default() -> Self {
        PrunerBuilder {
            interval: Duration::from_secs(5 * 60),
            limit: u64::MAX,
        }
    }
}

impl PrunerBuilder {
    /// Sets how long after one pass the next begins, give or take a fifth, by chance: so that programs
    /// which were started together do not go on together.
    ///
    /// Defaults to 5 minutes. Where sessions live for half an hour, a sixth more rows than there are
    /// living ones is then the most that piles up. Each program reads the table once in this time,
    /// which is milliseconds for 100,000 sessions and seconds for ten millions: where there are many, give
    /// it more.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn interval(mut self, interval: Duration) -> Self {
        assert!(!interval.is_zero(), "a pruner rests between two passes");
        self.interval = interval;
        self
    }

    /// Sets how many rows a pass removes at most.
    ///
    /// Defaults to as many as there are: it holds up nobody in any case.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn limit(mut self, rows: u64) -> Self {
        assert!(rows > 0, "a pass removes at least one row");
        self.limit = rows;
        self
    }

    /// Starts a pruner for the store, which it keeps alive until it is dropped: an
    /// `Arc<PostgresStore>`, or a reference to one that lives for ever. For the store of a facade,
    /// [`Offload::start_pruner`](crate::Offload::start_pruner) does it.
    ///
    /// # Panics
    ///
    /// Where the system has no thread left.
    pub fn start<P>(self, store: P) -> Pruner
    where
        P: Deref<Target = PostgresStore> + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let now = Instant::now();
        let deadline = Deadline::new(now, now + Deadline::LONGEST);
        let work = {
            let (shared, deadline) = (shared.clone(), deadline.clone());
            move || deadline.scope(|| self.run(&store, &shared))
        };
        let thread = thread::Builder::new().name("session-pruner".to_owned());
        match thread.spawn(work) {
            Ok(_) => Pruner { shared, deadline },
            Err(e) => panic!("no thread for a pruner: {e}"),
        }
    }

    /// Pass after pass, until it is over.
    fn run(&self, store: &PostgresStore, shared: &Shared) {
        loop {
            let pass = catch_unwind(AssertUnwindSafe(|| self.pass(store, shared)));
            shared.count(pass.unwrap_or_else(|panic| Err(panicked(&*panic))));
            if shared.is_over_within(self.pause()) {
                return;
            }
        }
    }

    fn pass(&self, store: &PostgresStore, shared: &Shared) -> Result<Pass, Error> {
        let mut sweep = Sweep::new(store, self.limit, Turn::Ones);
        let mut rest = Duration::ZERO;
        while !shared.is_over_within(rest) {
            let before = sweep.removed;
            let step = sweep.step()?;
            shared.state().stats.removed += sweep.removed - before;
            match step {
                Step::More => rest = sweep.rest(),
                Step::Done => return sweep.refusal.map_or(Ok(Pass::Done), Err),
                Step::Elsewhere => return Ok(Pass::Elsewhere),
            }
        }
        Ok(Pass::Over)
    }

    /// How long to wait for the next pass.
    fn pause(&self) -> Duration {
        let interval = self.interval.min(LONGEST_INTERVAL);
        // Without randomness there is no jitter.
        let chance = SysRng.try_next_u32().unwrap_or(u32::MAX / 2);
        let chance = f64::from(chance) / f64::from(u32::MAX);
        interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)
    }
}

/// What became of a pass.
enum Pass {
    Done,
    Elsewhere,
    Over,
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::other(format!("a panic: {}", text.unwrap_or("of no text")))
}

/// What [`Pruner::stats`] counts.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PrunerStats {
    /// Rows that it has removed so far.
    pub removed: u64,
    /// Passes that went through the whole table, or to their limit.
    pub passes: u64,
    /// Passes that were left to another program, which was at it.
    pub yields: u64,
    /// Passes that failed, or that could not remove some of the expired rows.
    pub failures: u64,
    /// Why the last pass failed, or could not remove the first row that it passed over; nothing where it did
    /// not fail.
    pub last_error: Option<Error>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Default)]
struct State {
    is_over: bool,
    stats: PrunerStats,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half way under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, pass: Result<Pass, Error>) {
        let mut state = self.state();
        let stats = &mut state.stats;
        stats.last_error = None;
        match pass {
            Ok(Pass::Done) => stats.passes += 1,
            Ok(Pass::Elsewhere) => stats.yields += 1,
            Ok(Pass::Over) => {}
            Err(e) => {
                stats.failures += 1;
                stats.last_error = Some(e);
            }
        }
    }

    /// Waits so long for the pruner to be dropped, and says whether it was.
    fn is_over_within(&self, time: Duration) -> bool {
        let (state, _) = self
            .over
            .wait_timeout_while(self.state(), time, |state| !state.is_over)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_over
    }
}
