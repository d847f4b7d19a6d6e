//! The async facade. The path of a call:
//!
//! 1. [`mod@async_store`] makes it with one of the methods of [`AsyncStore`].
//! 2. It waits in one of the [`queues`]. The [`queue`] counts the calls and the workers.
//! 3. A [`worker`], which is one closure on tokio's blocking pool, takes all waiting calls of one [`verb`].
//! 4. The worker executes them as a [`job`] on the store.
//! 5. Each caller gets its own answer; see [`call`].
//!
//! Imports point from the top of this list to the bottom.

mod async_store;
mod builder;
mod call;
mod drop;
mod history;
mod job;
mod load;
#[cfg(all(test, shuttle))]
mod model;
mod queue;
mod queues;
mod stats;
#[cfg(not(all(test, shuttle)))]
mod sync;
mod verb;
mod worker;

use std::{
    fmt,
    future::{self, Future},
    ops::Deref,
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

#[cfg(all(test, shuttle))]
use self::model::sync;
pub use self::{builder::OffloadBuilder, stats::OffloadStats};
use self::{
    call::{Caller, Claim, Ticket},
    drop::DroppedOnThread,
    history::History,
    job::{Job, Waiting, alone},
    load::PATIENCE,
    queue::{Limits, Queue},
    queues::{Calls, Queues},
    stats::OffloadCounters,
    worker::Shared,
};
#[cfg(doc)]
use crate::AsyncStore;
use crate::{
    Error, Method, Store,
    deadline::Deadline,
    observe::{error_of, trace::Span},
};

/// An async facade for a blocking [`Store`].
///
/// It executes every call on a thread of tokio's blocking pool. It is a handle: clones share one store, one queue and
/// its limits, and may be used from several runtimes.
///
/// | you have | call |
/// |---|---|
/// | a connection string, or [`ConnectOptions`](crate::ConnectOptions) | [`connect`](Offload::connect) |
/// | a store | [`new`](Offload::new) |
/// | options for the facade or the store | [`builder`](Offload::builder) |
///
/// # Batches
///
/// A call waits in a queue until a worker is free. A worker is a thread that executes calls on the store. There are
/// at most as many workers as the store has connections, and fewer if the server is so near that more would wait for
/// processors; see [`max_concurrency`](OffloadBuilder::max_concurrency). While all workers are busy, waiting calls are
/// combined: the next free worker takes all waiting calls of one method and executes them in one statement. No call is
/// delayed to fill a batch. A free worker executes a single call at once. Up to eight calls are not combined if there is
/// a worker for each. With [`max_batch(1)`](OffloadBuilder::max_batch), every call is one statement on one thread.
///
/// The `_many` methods, [`rotate`](AsyncStore::rotate), [`update`](AsyncStore::update) and [`run`](Offload::run) are
/// executed alone, because they may take long. A write to a session that another transaction has locked is also
/// executed alone, after the other calls of its batch were answered. If there are at least two workers, one of them
/// is reserved for short calls.
///
/// # Errors
///
/// Those of the store, and:
///
/// - [`Error::Overloaded`], at once, if too many calls wait.
/// - [`Error::TimedOut`] at the [`timeout`](OffloadBuilder::timeout), if no worker has taken the call. It is
///   never executed.
/// - [`Error::StillRunning`] a second after the timeout, if a worker has taken the call and the store has not
///   stopped it.
/// - [`Error::Cancelled`] if the runtime shuts down before a worker has taken the call.
/// - [`Error::NoRuntime`] outside of a tokio runtime.
///
/// # Panics
///
/// If the store panics in a call, that call's future panics, and no other: if a batch of several calls panics,
/// each of them is executed again alone. A call also panics on a tokio runtime without timers: build it with
/// `enable_time` or `enable_all`, as `#[tokio::main]` does.
///
/// # Deadlines
///
/// A [`PostgresStore`](crate::PostgresStore) asks the server to cancel a batch at the earliest deadline of its
/// calls. Calls that have time left are sent again. Other stores continue until they are done.
///
/// If a call has waited for most of its time and less time is left than batches have taken lately, it fails with
/// [`Error::TimedOut`] and is not sent.
///
/// # Cancel safety
///
/// A call whose future is dropped before a worker has taken it is never executed. After that it may be
/// executed or not. If the futures of all calls of a batch are dropped, a `PostgresStore` asks the server to
/// cancel it.
///
/// # Dropping
///
/// The last handle may be dropped anywhere. Inside a runtime, the store is dropped on a new thread, because dropping
/// a `postgres::Client` blocks. If no thread can be started, the store is leaked: its connections stay open until the
/// program ends.
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

/// The time after its deadline in which a call waits for the store to stop it.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// The time after its deadline in which a call that no worker has taken waits for the reason.
const CAUSE: Duration = Duration::from_millis(100);

impl<S: Store> Offload<S> {
    /// Returns a facade for `store` with the default options.
    pub fn new(store: S) -> Offload<S> {
        OffloadBuilder::default().build(store)
    }

    fn with(store: S, limits: Limits, timeout: Duration, slow_threshold: Duration) -> Offload<S> {
        Offload {
            shared: Arc::new(Shared {
                store: DroppedOnThread::new(store),
                queue: Queue::new(limits),
                history: History::default(),
                counters: OffloadCounters::new(slow_threshold),
                timeout,
            }),
        }
    }

    /// Executes blocking work on the store, and returns its result.
    ///
    /// At the timeout, the running statement of a [`PostgresStore`](crate::PostgresStore) is cancelled. If `work`
    /// does not return within another second, the call fails with [`Error::StillRunning`].
    ///
    /// # Errors
    ///
    /// Those of the facade; see [`Offload`].
    ///
    /// # Panics
    ///
    /// If `work` panics.
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
        self.long(Method::Run, 0, |store| Ok(work(store))).await
    }

    /// Makes a call that is executed alone and may take long. `bytes` is the size of the values that it holds.
    async fn long<T: Send + 'static>(
        &self,
        method: Method,
        bytes: usize,
        work: impl FnOnce(&S) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let long = |span| self.call_alone(bytes, span, work);
        self.observe(method, 1, long, error_of).await
    }

    async fn call_alone<T: Send + 'static>(
        &self,
        bytes: usize,
        span: Span,
        work: impl FnOnce(&S) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.call(
            |queues| &mut queues.long,
            bytes,
            span,
            |ticket| alone(work, ticket),
        )
        .await
    }

    /// Counts calls that are made as one, and measures their time. `call` gets their span.
    async fn observe<T, F: Future<Output = T>>(
        &self,
        method: Method,
        calls: usize,
        call: impl FnOnce(Span) -> F,
        errors: impl FnOnce(&T) -> Vec<&Error>,
    ) -> T {
        let span = Span::of_facade(method, calls);
        let begun = self.shared.counters.calls.begin(method, calls);
        let done = call(span.clone()).await;
        span.in_scope(|| begun.end(errors(&done)));
        done
    }

    pub(crate) fn keep(&self) -> Kept<S> {
        Kept(self.shared.clone())
    }

    /// Returns the counters of this facade. Those of a [`PostgresStore`](crate::PostgresStore) in it are returned by
    /// [`store_stats`](Offload::store_stats).
    pub fn stats(&self) -> OffloadStats {
        let Shared {
            queue, counters, ..
        } = &*self.shared;
        counters.get(&queue.open_calls())
    }

    /// Lets a call wait in a queue and then for its answer. Every call goes through here.
    async fn call<J: Job<S>, T>(
        &self,
        queue: impl FnOnce(&mut Queues<S>) -> &mut Calls<J>,
        bytes: usize,
        span: Span,
        job: impl FnOnce(Ticket<T>) -> J,
    ) -> Result<T, Error> {
        let (timeout, counters) = (self.shared.timeout, &self.shared.counters);
        let home = sync::current_runtime().ok_or(Error::NoRuntime)?;
        let begun = Instant::now();
        let (reply, mut answer) = oneshot::channel();
        let claim = Arc::new(Claim::default());
        let mut caller = Caller {
            claim: claim.clone(),
            is_answered: false,
        };
        // This panics if the runtime has no timers, so nothing may be done before it.
        let soon = sync::timeout(timeout.min(PATIENCE), &mut answer);
        let ticket = Ticket {
            claim,
            reply,
            begun,
            deadline: begun + timeout.min(Deadline::LONGEST),
            home: home.clone(),
            span,
            was_taken: false,
        };
        let job = job(ticket);
        let waiting = Waiting {
            job,
            home: home.clone(),
            bytes,
        };
        counters.begin_waiting();
        let entered = self.shared.queue.enter(queue, waiting);
        let entered = entered.inspect_err(|_| counters.end_waiting(1))?;
        worker::wake(&self.shared, entered);
        let mut answered = soon.await;
        if answered.is_none() {
            worker::wake(&self.shared, self.shared.queue.wake(home));
            let left = timeout.saturating_sub(PATIENCE);
            answered = sync::timeout(left, &mut answer).await;
        }
        if answered.is_none() {
            if caller.claim.withdraw() {
                counters.queue_seconds.record_time(begun.elapsed());
                return Err(self.too_late(begun).await);
            }
            // A worker has taken the call, and the store is about to stop it.
            answered = sync::timeout(CONFIRMATION, &mut answer).await;
        }
        caller.is_answered = answered.is_some();
        match answered {
            Some(Ok(Ok(result))) => result,
            Some(Ok(Err(panic))) => resume_unwind(panic),
            Some(Err(_)) => Err(Error::Cancelled),
            None => Err(Error::StillRunning {
                waited: begun.elapsed(),
            }),
        }
    }

    /// Returns the error of a call that no worker has taken in time.
    async fn too_late(&self, begun: Instant) -> Error {
        let history = &self.shared.history;
        if !history.has_cause() {
            // The calls that workers have taken are about to time out, too, with a reason.
            sync::timeout(CAUSE, future::pending::<()>()).await;
        }
        Error::TimedOut {
            waited: begun.elapsed(),
            reason: history.too_late(),
        }
    }
}

/// Keeps the store of a facade alive while a thread uses it.
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
