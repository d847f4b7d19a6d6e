//! The async facade, in the order of a call: it enters the [`queue`], in the line of its [`verb`]; a
//! lane, which is a closure on tokio's blocking pool, takes it with others of that verb, carries them
//! out on the store, and answers each caller.
//!
//! This is the only place that knows tokio.

mod queue;
mod verb;

use std::{
    fmt,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::oneshot::{self, Receiver},
};

use self::{
    queue::{Limits, Queue},
    verb::{Answer, Clear, Generate, Get, Insert, Job, Set, Touch, Verb},
};
use crate::{AsyncStore, Error, Key, Period, PostgresStore, Session, Store};

/// Calls a blocking [`Store`] from async code, on the threads that tokio has for what blocks.
///
/// It is a handle: clones share one store, one queue and its limits. Each call waits in a queue until
/// one of the few [`lanes`](OffloadBuilder::lanes) is free; calls of one verb that wait together make
/// the trip together, in one statement. Nobody waits for a batch to fill: an idle lane takes a lone
/// call at once. With [`max_batch(1)`](OffloadBuilder::max_batch) each call is a thread hop of its own,
/// as in the original.
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
/// Where the store panics in a call, that call's future panics, and no other.
///
/// # Cancel safety
///
/// A call whose future is dropped before a lane has taken it is never carried out. After that it runs
/// to its end.
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
        let begun = Instant::now();
        let (reply, answer) = oneshot::channel();
        self.enter(1, |lines| {
            lines.alone.push_back(Box::new(move |store: &S| {
                if !reply.is_closed() {
                    let answer = catch_unwind(AssertUnwindSafe(|| Ok(work(store))));
                    // A caller who has gone wants no answer.
                    let _ = reply.send(answer);
                }
            }));
        })?;
        self.wait(answer, begun).await
    }

    /// How the calls do, as of now.
    pub fn stats(&self) -> Stats {
        self.shared.queue.stats()
    }

    /// The funnel of every verb.
    async fn call<V: Verb>(&self, args: V::Args) -> Result<V::Output, Error> {
        let begun = Instant::now();
        let (reply, answer) = oneshot::channel();
        self.enter(1, |lines| V::line(lines).push_back(Job { args, reply }))?;
        self.wait(answer, begun).await
    }

    /// The same for many: they wait as so many calls.
    async fn call_each<V: Verb>(&self, calls: Vec<V::Args>) -> Vec<Result<V::Output, Error>> {
        let begun = Instant::now();
        let count = calls.len();
        let mut answers = Vec::with_capacity(count);
        let entered = self.enter(count, |lines| {
            V::line(lines).extend(calls.into_iter().map(|args| {
                let (reply, answer) = oneshot::channel();
                answers.push(answer);
                Job { args, reply }
            }));
        });
        if let Err(e) = entered {
            return (0..count).map(|_| Err(e.clone())).collect();
        }
        let mut results = Vec::with_capacity(count);
        for answer in answers {
            results.push(self.wait(answer, begun).await);
        }
        results
    }

    fn enter(&self, calls: usize, enter: impl FnOnce(&mut queue::Lines<S>)) -> Result<(), Error> {
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        if self.shared.queue.enter(calls, enter)? {
            let lane = Lane {
                shared: Some(self.shared.clone()),
            };
            runtime.spawn_blocking(|| lane.run());
        }
        Ok(())
    }

    async fn wait<T>(&self, answer: Receiver<Answer<T>>, begun: Instant) -> Result<T, Error> {
        let left = self.shared.timeout.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, answer).await {
            Ok(Ok(Ok(result))) => result,
            Ok(Ok(Err(panic))) => resume_unwind(panic),
            Ok(Err(_)) => Err(Error::Cancelled),
            Err(_) => {
                self.shared.queue.timed_out();
                let reason = "the store has not answered".to_owned();
                Err(Error::TimedOut {
                    waited: begun.elapsed(),
                    reason,
                })
            }
        }
    }
}

impl Offload<PostgresStore> {
    /// Connects in a thread, as [`PostgresStore::connect`] does.
    ///
    /// # Errors
    ///
    /// Those of [`PostgresStore::connect`]; [`Error::NoRuntime`] outside of a tokio runtime, and
    /// [`Error::Cancelled`] where it shuts down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the connection, once it is made.
    pub async fn connect(params: &str) -> Result<Offload<PostgresStore>, Error> {
        let params = params.to_owned();
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let connected = runtime
            .spawn_blocking(move || PostgresStore::connect(&params))
            .await;
        connected.map_err(|_| Error::Cancelled)?.map(Offload::new)
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

/// One closure on the blocking pool, that carries out calls as long as some wait.
struct Lane<S: Store> {
    /// `None` once it runs.
    shared: Option<Arc<Shared<S>>>,
}

impl<S: Store> Lane<S> {
    fn run(mut self) {
        if let Some(shared) = self.shared.take() {
            let mut done = 0;
            while let Some(batch) = shared.queue.next(done) {
                (batch.work)(&shared.store);
                done = batch.calls;
            }
        }
    }
}

/// A runtime that shuts down drops the lanes that have not begun.
impl<S: Store> Drop for Lane<S> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.queue.lane_is_lost();
        }
    }
}

/// A store that is dropped where it may block.
struct DroppedElsewhere<S: Send + 'static>(Option<S>);

impl<S: Send + 'static> Deref for DroppedElsewhere<S> {
    type Target = S;

    fn deref(&self) -> &S {
        match &self.0 {
            Some(store) => store,
            None => unreachable!("it is taken only when it is dropped"),
        }
    }
}

impl<S: Send + 'static> Drop for DroppedElsewhere<S> {
    fn drop(&mut self) {
        let store = self.0.take();
        if Handle::try_current().is_ok() {
            thread::spawn(|| drop(store));
        }
    }
}

/// Options for an [`Offload`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until a facade is made of it"]
pub struct OffloadBuilder {
    lanes: Option<usize>,
    max_batch: usize,
    max_waiting: usize,
    timeout: Duration,
}

impl Default for OffloadBuilder {
    fn default() -> Self {
        OffloadBuilder {
            lanes: None,
            max_batch: 256,
            max_waiting: 10_000,
            timeout: Duration::from_secs(30),
        }
    }
}

impl OffloadBuilder {
    /// Sets how many calls or batches are carried out at once at most, each on a thread of tokio's
    /// blocking pool.
    ///
    /// Defaults to the store's [`parallelism`](Store::parallelism).
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn lanes(mut self, count: usize) -> Self {
        assert!(count > 0, "calls need at least one lane");
        self.lanes = Some(count);
        self
    }

    /// Sets how many calls make a trip together at most. With 1, each goes alone.
    ///
    /// Defaults to 256.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn max_batch(mut self, calls: usize) -> Self {
        assert!(calls > 0, "a batch has at least one call");
        self.max_batch = calls;
        self
    }

    /// Sets how many calls may wait; a further one is [`Error::Overloaded`] at once.
    ///
    /// Defaults to 10,000.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// Sets how long a call may take in all, from when it is first polled. After that its caller is
    /// told [`Error::TimedOut`]; a write that was under way may or may not have taken effect.
    ///
    /// Defaults to 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the facade for this store.
    pub fn build<S: Store>(self, store: S) -> Offload<S> {
        let limits = Limits {
            lanes: self.lanes.unwrap_or_else(|| store.parallelism().get()),
            max_batch: self.max_batch,
            max_waiting: self.max_waiting,
        };
        let shared = Shared {
            store: DroppedElsewhere(Some(store)),
            queue: Queue::new(limits),
            timeout: self.timeout,
        };
        Offload {
            shared: Arc::new(shared),
        }
    }
}

/// What [`Offload::stats`] counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that wait for a lane now.
    pub waiting: usize,
    /// Calls that a lane carries out now.
    pub running: usize,
    /// Calls that a lane has taken so far.
    pub calls: u64,
    /// Trips that they made.
    pub batches: u64,
    /// The most calls that made a trip together.
    pub largest_batch: usize,
    /// Calls that were not answered in time.
    pub timeouts: u64,
    /// Calls that were turned away.
    pub overloads: u64,
}

impl<S: Store> AsyncStore for Offload<S> {
    fn default_period(&self) -> Period {
        self.shared.store.default_period()
    }

    fn set_default_period(&self, period: Period) {
        self.shared.store.set_default_period(period);
    }

    async fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        self.call::<Generate>((value.map(str::to_owned), expiry))
            .await
    }

    async fn clear(&self, key: &Key) -> Result<(), Error> {
        self.call::<Clear>(key.clone()).await
    }

    async fn get(&self, key: &Key) -> Result<Session, Error> {
        self.call::<Get>(key.clone()).await
    }

    async fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.call::<Set>((key.clone(), value.to_owned(), expiry))
            .await
    }

    async fn insert(
        &self,
        key: &Key,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> Result<(), Error> {
        self.call::<Insert>((key.clone(), value.map(str::to_owned), expiry))
            .await
    }

    async fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.call::<Touch>((key.clone(), expiry)).await
    }

    async fn rotate(&self, key: &Key) -> Result<Key, Error> {
        let key = key.clone();
        self.run(move |store| store.rotate(&key)).await?
    }

    async fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        mut edit: impl FnMut(Option<&str>) -> Option<String> + Send + 'static,
    ) -> Result<Session, Error> {
        let key = key.clone();
        self.run(move |store| store.update(&key, expiry, &mut edit))
            .await?
    }

    async fn generate_many(
        &self,
        calls: &[(Option<&str>, Option<Period>)],
    ) -> Vec<Result<Key, Error>> {
        let owned = calls
            .iter()
            .map(|(value, expiry)| (value.map(str::to_owned), *expiry));
        self.call_each::<Generate>(owned.collect()).await
    }

    async fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.call_each::<Clear>(keys.iter().copied().cloned().collect())
            .await
    }

    async fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        self.call_each::<Get>(keys.iter().copied().cloned().collect())
            .await
    }

    async fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        let owned = calls
            .iter()
            .map(|(key, value, expiry)| ((*key).clone(), (*value).to_owned(), *expiry));
        self.call_each::<Set>(owned.collect()).await
    }

    async fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        let owned = calls
            .iter()
            .map(|(key, value, expiry)| ((*key).clone(), value.map(str::to_owned), *expiry));
        self.call_each::<Insert>(owned.collect()).await
    }

    async fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        let owned = calls.iter().map(|(key, expiry)| ((*key).clone(), *expiry));
        self.call_each::<Touch>(owned.collect()).await
    }
}
