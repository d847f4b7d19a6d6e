//! The async facade, in the order of a call: one of the [`verbs`] makes it, it waits in the [`queue`] of its
//! [`verb`], and a [`worker`], which is a closure on tokio's blocking pool, executes it on the store, in a
//! [`batch`] with others of that verb. [`call`] decides between a worker that takes a call and a caller that
//! gives up.
//!
//! This is the only place that knows tokio.

mod batch;
mod builder;
mod call;
mod drop;
#[cfg(all(test, shuttle))]
mod model;
mod queue;
mod stats;
#[cfg(not(all(test, shuttle)))]
mod sync;
mod verb;
mod verbs;
mod worker;

use std::{
    fmt, future,
    ops::Deref,
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

#[cfg(all(test, shuttle))]
use self::model::sync;
use self::{
    batch::{Work, long},
    call::{Caller, Claim, Ticket},
    drop::DroppedOnThread,
    queue::{Calls, Limits, Queue, Queues, Waiting},
};
pub use self::{builder::OffloadBuilder, stats::Stats};
#[cfg(doc)]
use crate::AsyncStore;
use crate::{Error, Store, deadline::Deadline};

/// Calls a blocking [`Store`] from async code, on the threads that tokio has for what blocks.
///
/// It is a handle: clones share one store, one queue and its limits, and may be used from several runtimes at
/// once. A call waits in a queue until a worker is free. A worker is a thread that executes calls on the store;
/// there are at most as many as the store has connections. A free worker takes all waiting calls of one verb
/// and executes them in one statement. No call is delayed to fill a batch: a free worker takes a single call at
/// once, and up to eight calls are each executed alone if there is a worker for each. With
/// [`max_batch(1)`](OffloadBuilder::max_batch), every call is one statement in one thread.
///
/// The `_many` verbs, [`rotate`](AsyncStore::rotate), [`update`](AsyncStore::update) and [`run`](Offload::run)
/// are executed alone. They may take long, and so may a write to a session that another transaction keeps
/// locked, which is executed alone after the others of its batch have been answered. If there are at least two
/// workers, one of them executes no call that may take long.
///
/// # Errors
///
/// Beside those of the store: [`Error::Overloaded`] at once if too many calls wait, [`Error::Cancelled`] if the
/// runtime shuts down before the call was taken, and [`Error::NoRuntime`] outside of a tokio runtime.
///
/// At its [`timeout`](OffloadBuilder::timeout), a call that no worker has taken is [`Error::TimedOut`]. It is
/// never executed. One that a worker has taken waits for up to a second longer, while the store stops it and
/// returns its result. If there is no result by then, the call is [`Error::StillRunning`].
///
/// # Panics
///
/// If the store panics in a call, that call's future panics, and no other: if a batch of several calls panics,
/// each of them is executed again alone. A call also panics on a tokio runtime without timers: build it with
/// `enable_time` or `enable_all`, as `#[tokio::main]` does.
///
/// # Deadlines
///
/// A [`PostgresStore`](crate::PostgresStore) has the server cancel a batch at the earliest deadline of its
/// calls. Those that have time left are sent again. Another store goes on until it is done.
///
/// A call that a worker takes with less time left than calls have taken lately is [`Error::TimedOut`] and not
/// sent, if it has waited for most of its time.
///
/// # Cancel safety
///
/// A call whose future is dropped before a worker has taken it is never executed. After that it may be
/// executed or not. If the futures of all calls of a batch are dropped, a `PostgresStore` has the server cancel
/// it.
///
/// # Dropping
///
/// The last handle may be dropped anywhere. Inside a runtime, the store is dropped on a thread of its own,
/// because a `postgres::Client` blocks then. If the system has no thread, the store is leaked: its connections
/// stay open until the program ends.
///
/// # Examples
///
/// ```
/// use session_postgres::{AsyncStore, Offload};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = throwaway_postgres::Server::start()?;
/// # let database_url = server.url();
/// let store = Offload::connect(database_url).await?;
/// store.run(|store| store.create_table()).await??;
///
/// let key = store.generate(Some("lobster"), None).await?;
/// assert_eq!(store.get(&key).await?.value, "lobster");
/// # Ok(())
/// # }
/// ```
#[doc(alias = "Lift")]
pub struct Offload<S: Store> {
    shared: Arc<Shared<S>>,
}

/// How long a call waits after its deadline for its result, while the store stops it.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// How long a call that no worker has taken waits after its deadline to learn why.
const CAUSE: Duration = Duration::from_millis(100);

struct Shared<S: Store> {
    store: DroppedOnThread<S>,
    queue: Queue<S>,
    timeout: Duration,
}

impl<S: Store> Offload<S> {
    /// A facade for the store, with the default options.
    pub fn new(store: S) -> Offload<S> {
        OffloadBuilder::default().build(store)
    }

    fn with(store: S, limits: Limits, timeout: Duration) -> Offload<S> {
        Offload {
            shared: Arc::new(Shared {
                store: DroppedOnThread::new(store),
                queue: Queue::new(limits),
                timeout,
            }),
        }
    }

    /// Executes any blocking work on the store.
    ///
    /// A statement that `work` executes through a [`PostgresStore`](crate::PostgresStore) is cancelled at the
    /// timeout. If `work` does not return within a second then, the call is [`Error::StillRunning`].
    ///
    /// # Errors
    ///
    /// Those of the facade; see [`Offload`].
    ///
    /// # Panics
    ///
    /// If `work` does.
    ///
    /// # Cancel safety
    ///
    /// `work` is not executed if the future is dropped before a worker has taken the call. After that it is
    /// executed to its end, but its statements through a [`PostgresStore`](crate::PostgresStore) are cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{MemoryStore, Offload, Store};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Offload::new(MemoryStore::new());
    /// let key = store.run(|store| store.generate(Some("lobster"), None)).await??;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&S) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let work = |store: &S| Ok(work(store));
        self.call(|queues| &mut queues.long, 0, |ticket| long(work, ticket))
            .await
    }

    pub(crate) fn keep(&self) -> Kept<S> {
        Kept(self.shared.clone())
    }

    /// How the calls do, as of now.
    pub fn stats(&self) -> Stats {
        self.shared.queue.stats()
    }

    /// Every call waits here, in a queue and then for its answer.
    async fn call<J: Work<S>, T>(
        &self,
        queue: impl FnOnce(&mut Queues<S>) -> &mut Calls<J>,
        bytes: usize,
        job: impl FnOnce(Ticket<T>) -> J,
    ) -> Result<T, Error> {
        let Shared { timeout, .. } = *self.shared;
        let home = sync::current_runtime().ok_or(Error::NoRuntime)?;
        let begun = Instant::now();
        let (reply, mut answer) = oneshot::channel();
        let claim = Arc::new(Claim::default());
        let mut caller = Caller {
            claim: claim.clone(),
            is_answered: false,
        };
        // If the runtime has no timers this panics, before anything is done.
        let in_time = sync::timeout(timeout, &mut answer);
        let ticket = Ticket {
            claim,
            reply,
            begun,
            deadline: begun + timeout.min(Deadline::LONGEST),
            home: home.clone(),
        };
        let job = job(ticket);
        let entered = self
            .shared
            .queue
            .enter(queue, Waiting { job, home, bytes })?;
        worker::start(&self.shared, entered);
        let mut told = in_time.await;
        if told.is_none() {
            if caller.claim.withdraw() {
                return Err(self.too_late(begun).await);
            }
            // A worker has taken it, and the store stops it.
            told = sync::timeout(CONFIRMATION, &mut answer).await;
        }
        caller.is_answered = told.is_some();
        let result = match told {
            Some(Ok(Ok(result))) => result,
            Some(Ok(Err(panic))) => resume_unwind(panic),
            Some(Err(_)) => Err(Error::Cancelled),
            None => Err(Error::StillRunning {
                waited: begun.elapsed(),
            }),
        };
        if matches!(
            result,
            Err(Error::TimedOut { .. } | Error::StillRunning { .. })
        ) {
            self.shared.queue.timed_out();
        }
        result
    }

    /// The error of a call that no worker has taken in time.
    async fn too_late(&self, begun: Instant) -> Error {
        let queue = &self.shared.queue;
        queue.timed_out();
        if queue.cause().is_none() {
            // The calls that workers have taken learn just now why they are late.
            sync::timeout(CAUSE, future::pending::<()>()).await;
        }
        Error::TimedOut {
            waited: begun.elapsed(),
            reason: queue.too_late(),
        }
    }
}

/// Keeps the store of a facade while a thread uses it.
pub(crate) struct Kept<S: Store>(Arc<Shared<S>>);

impl<S: Store> Deref for Kept<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0.store
    }
}

impl<S: Store> Clone for Offload<S> {
    fn clone(&self) -> Self {
        Offload {
            shared: self.shared.clone(),
        }
    }
}

impl<S: Store + fmt::Debug> fmt::Debug for Offload<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload")
            .field("store", &*self.shared.store)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
