//! A thread that removes the rows of expired sessions.

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

use crate::{Error, Pruned, PrunerStats, Store, deadline::Deadline, observe::trace};

/// The largest random change of the interval, as a fraction of it.
const JITTER: f64 = 0.2;

/// Removes the rows of expired sessions in the background until it is dropped.
///
/// A thread named `session-pruner` makes a pass through the table at once, and then another one every
/// [`interval`](PrunerBuilder::interval). A pass is a [`Store::prune_pass`]. On a [`PostgresStore`](crate::PostgresStore)
/// it consists of short statements that block no other call, and uses one connection at a time. If several programs
/// prune the same table, only one of them removes rows at any time, and the others skip the pass.
///
/// A failed pass does not stop the pruner. Failures are counted in [`stats`](Pruner::stats).
///
/// # Dropping
///
/// Dropping the pruner stops it and returns at once. Its thread ends when the server has cancelled the running
/// statement, and then drops its handle of the store. If the thread waits for a connection of the pool, it ends
/// within 250 ms.
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
/// // Serve requests, and check the pruner from time to time.
/// if let Some(error) = pruner.stats().last_error {
///     eprintln!("expired sessions were not removed: {error}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a pruner stops when it is dropped"]
pub struct Pruner {
    shared: Arc<Shared>,
    /// Expires if the pruner is dropped, so that the running statement is cancelled.
    deadline: Deadline,
}

impl Pruner {
    /// Starts a pruner with the default options; see [`PrunerBuilder::start`].
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread.
    pub fn start<P>(store: P) -> Pruner
    where
        P: Deref<Target: Store> + Send + 'static,
    {
        Pruner::builder().start(store)
    }

    /// Returns a builder for the options of a pruner.
    pub fn builder() -> PrunerBuilder {
        PrunerBuilder::default()
    }

    /// Returns the counters of this pruner.
    pub fn stats(&self) -> PrunerStats {
        self.shared.state().stats.clone()
    }
}

impl Drop for Pruner {
    fn drop(&mut self) {
        self.shared.state().is_stopped = true;
        self.shared.stopped.notify_all();
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

/// Options for a [`Pruner`], created with [`Pruner::builder`].
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
    /// Sets the time between two passes. It is made up to 20 % shorter or longer at random, so that programs that
    /// were started together do not prune together.
    ///
    /// Defaults to 5 minutes. If sessions live for half an hour, the table then has about a sixth more rows than
    /// sessions. In each interval, every program reads the table once, which takes milliseconds for 100,000
    /// sessions and seconds for ten million: use a longer interval for a large table.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn interval(mut self, interval: Duration) -> Self {
        assert!(
            !interval.is_zero(),
            "the interval of a pruner must be longer than zero"
        );
        self.interval = interval;
        self
    }

    /// Sets the largest number of rows that a pass removes.
    ///
    /// Defaults to no limit, because a pass blocks no other call.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn limit(mut self, rows: u64) -> Self {
        assert!(rows > 0, "the limit of a pruner must be at least one row");
        self.limit = rows;
        self
    }

    /// Starts a pruner for this store: an `Arc` of a store, or a `&'static` reference to one. The store is kept
    /// until the pruner is dropped. For the store of a facade, use
    /// [`Offload::start_pruner`](crate::Offload::start_pruner).
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread.
    pub fn start<P>(self, store: P) -> Pruner
    where
        P: Deref<Target: Store> + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let now = Instant::now();
        let deadline = Deadline::new(now, now + Deadline::LONGEST);
        let work = {
            let (shared, deadline) = (shared.clone(), deadline.clone());
            move || deadline.scope(|| self.run(&*store, &shared))
        };
        let thread = thread::Builder::new().name("session-pruner".to_owned());
        match thread.spawn(work) {
            Ok(_) => Pruner { shared, deadline },
            Err(e) => panic!("cannot start the thread of a pruner: {e}"),
        }
    }

    /// Makes passes until the pruner is dropped.
    fn run(&self, store: &(impl Store + ?Sized), shared: &Shared) {
        loop {
            let pass = catch_unwind(AssertUnwindSafe(|| store.prune_pass(self.limit)));
            shared.count(&pass.unwrap_or_else(|panic| Pruned {
                error: Some(panicked(&*panic)),
                ..Pruned::default()
            }));
            if shared.is_stopped_within(self.pause()) {
                return;
            }
        }
    }

    /// The time until the next pass.
    fn pause(&self) -> Duration {
        let interval = self.interval.min(Deadline::LONGEST);
        // Without randomness there is no jitter.
        let chance = SysRng.try_next_u32().unwrap_or(u32::MAX / 2);
        let chance = f64::from(chance) / f64::from(u32::MAX);
        interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::other(format!(
        "the pass panicked: {}",
        text.unwrap_or("without a message")
    ))
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Default)]
struct State {
    is_stopped: bool,
    stats: PrunerStats,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, pass: &Pruned) {
        let mut state = self.state();
        if state.is_stopped {
            // The statement was cancelled because the pruner was dropped.
            state.stats.removed += pass.removed;
            return;
        }
        state.stats.count(pass);
        drop(state);
        if let Some(error) = &pass.error {
            trace::failed_pruning(error);
        }
    }

    /// Waits until the pruner is dropped, at most for `time`. Returns whether it was dropped.
    fn is_stopped_within(&self, time: Duration) -> bool {
        let (state, _) = self
            .stopped
            .wait_timeout_while(self.state(), time, |state| !state.is_stopped)
            .unwrap_or_else(PoisonError::into_inner);
        state.is_stopped
    }
}
