//! The async facade, in the order of a call: one of the [`verbs`] makes it, it waits in the [`queue`],
//! in the line of its [`verb`], and a [`lane`], which is a closure on tokio's blocking pool, carries it
//! out on the store, together with others of that verb, and answers each caller.
//!
//! This is the only place that knows tokio.

mod builder;
mod elsewhere;
mod lane;
#[cfg(all(test, shuttle))]
mod model;
mod queue;
mod stats;
#[cfg(not(all(test, shuttle)))]
mod sync;
mod verb;
mod verbs;

use std::{fmt, ops::Deref, panic::resume_unwind, sync::Arc, time::Duration};

use tokio::sync::oneshot;

#[cfg(all(test, shuttle))]
use self::model::sync;
pub use self::{builder::OffloadBuilder, stats::Stats};
use self::{
    elsewhere::DroppedElsewhere,
    queue::{Limits, Line, Lines, Queue, Waiting},
    verb::{Reply, alone},
};
#[cfg(doc)]
use crate::AsyncStore;
use crate::{ConnectOptions, Error, PostgresStore, Pruner, PrunerBuilder, Store, deadline};

/// Calls a blocking [`Store`] from async code, on the threads that tokio has for what blocks.
///
/// It is a handle: clones share one store, one queue and its limits. Each call waits in a queue until
/// one of the few [`lanes`](OffloadBuilder::lanes) is free; calls of one verb that wait together make
/// the trip together, in one statement. Nobody waits for a batch to fill: an idle lane takes a lone
/// call at once, and up to eight calls each go alone where there is a lane for each. With
/// [`max_batch(1)`](OffloadBuilder::max_batch) every call is a thread hop of its own, as in the
/// original. The `_many` verbs, [`rotate`](AsyncStore::rotate), [`update`](AsyncStore::update) and
/// [`run`](Offload::run) always make a trip of their own. Where somebody keeps the row of one call of a
/// trip locked, the others are answered after a quarter of a second, and the lane waits for that one alone.
///
/// A handle may be used from several runtimes at once.
///
/// # Errors
///
/// Beside those of the store: [`Error::Overloaded`] at once where too many calls wait,
/// [`Error::TimedOut`] when the [`timeout`](OffloadBuilder::timeout) has passed,
/// [`Error::Cancelled`] where the runtime shuts down before the call was taken, and
/// [`Error::NoRuntime`] outside of a tokio runtime.
///
/// # Panics
///
/// Where the store panics in a call, that call's future panics, and no other: if a trip of several
/// panics, each of them is made again by itself. A call also panics on a tokio runtime that has no
/// timers: build it with `enable_time` or `enable_all`, as `#[tokio::main]` does.
///
/// # Deadlines
///
/// A call whose time is up before a lane has taken it is never carried out. When the time of all the
/// callers of a trip is up, a [`PostgresStore`] has the server cancel what it does for them, so that
/// the lane comes back; another store goes on until it is done.
///
/// # Cancel safety
///
/// A call whose future is dropped before a lane has taken it is never carried out. After that it runs
/// to its end, or to its deadline.
///
/// # Dropping
///
/// The last handle may be dropped anywhere: inside a runtime, the store is dropped on a thread of its
/// own, for a `postgres::Client` blocks then.
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

struct Shared<S: Store> {
    store: DroppedElsewhere<S>,
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
                store: DroppedElsewhere::new(store),
                queue: Queue::new(limits),
                timeout,
            }),
        }
    }

    /// Runs any blocking work on the store, alone in a lane.
    ///
    /// # Errors
    ///
    /// Those of the facade; see [`Offload`].
    ///
    /// # Panics
    ///
    /// Where `work` does.
    ///
    /// # Cancel safety
    ///
    /// As any call: not run at all if it is dropped before a lane has taken it, else run to its end.
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
        self.call(|lines| &mut lines.alone, |reply| alone(work, reply))
            .await
    }

    /// How the calls do, as of now.
    pub fn stats(&self) -> Stats {
        self.shared.queue.stats()
    }

    /// The funnel: everything that is called waits here, in a line, for its answer.
    async fn call<J, T>(
        &self,
        line: impl FnOnce(&mut Lines<S>) -> &mut Line<J>,
        job: impl FnOnce(Reply<T>) -> J,
    ) -> Result<T, Error> {
        let home = sync::current_runtime().ok_or(Error::NoRuntime)?;
        let deadline = deadline::after(self.shared.timeout);
        let (reply, answer) = oneshot::channel();
        // Where the runtime has no timers this panics, before anything is done.
        let answer = sync::timeout_at(deadline, answer);
        let call = Waiting {
            job: job(reply),
            deadline,
            home: home.clone(),
        };
        let open = self
            .shared
            .queue
            .enter(&home, |lines| line(lines).push_back(call))?;
        lane::open(&self.shared, open);
        match answer.await {
            Some(Ok(Ok(result))) => result,
            Some(Ok(Err(panic))) => resume_unwind(panic),
            Some(Err(_)) => Err(Error::Cancelled),
            None => {
                self.shared.queue.timed_out();
                Err(Error::TimedOut {
                    waited: self.shared.timeout,
                    reason: "the store has not answered".to_owned(),
                })
            }
        }
    }
}

impl Offload<PostgresStore> {
    /// A facade with other than the default options, for any store.
    pub fn builder() -> OffloadBuilder {
        OffloadBuilder::default()
    }

    /// Connects in a thread, as [`PostgresStore::connect`] does; [`OffloadBuilder::connect`] takes
    /// options, and says more.
    ///
    /// # Errors
    ///
    /// Those of [`OffloadBuilder::connect`].
    pub async fn connect<O>(options: O) -> Result<Offload<PostgresStore>, Error>
    where
        O: TryInto<ConnectOptions>,
        O::Error: Into<Error>,
    {
        Offload::builder()
            .connect(PostgresStore::builder(), options)
            .await
    }

    /// Starts a [`Pruner`] for the store, which it keeps until it is dropped. It takes no lane, but now
    /// and then one of the store's connections for some milliseconds.
    ///
    /// # Panics
    ///
    /// Where the system has no thread left.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{Offload, Pruner};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let database_url = server.url();
    /// let store = Offload::connect(database_url).await?;
    /// store.run(|store| store.create_table()).await??;
    /// let pruner = store.start_pruner(Pruner::builder());
    /// // Serve visitors.
    /// drop(pruner);
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_pruner(&self, options: PrunerBuilder) -> Pruner {
        options.start(Held(self.shared.clone()))
    }
}

/// The store of a facade, for a thread of its own.
struct Held(Arc<Shared<PostgresStore>>);

impl Deref for Held {
    type Target = PostgresStore;

    fn deref(&self) -> &PostgresStore {
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
