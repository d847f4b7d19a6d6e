//! The options of a facade.

use std::{num::NonZeroUsize, thread, time::Duration};

use super::{Offload, queue::Limits};
#[cfg(doc)]
use crate::{Error, PostgresStore};
use crate::{Store, observe::DEFAULT_SLOW_THRESHOLD};

/// Options for an [`Offload`], created with [`Offload::builder`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use session_postgres::{Offload, PostgresStore};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = throwaway_postgres::Server::start()?;
/// # let database_url = server.url();
/// let table = PostgresStore::builder().table("web_session")?.max_connections(8);
/// let store = Offload::builder()
///     .timeout(Duration::from_secs(5))
///     .connect(table, database_url)
///     .await?;
/// store.run(|store| store.create_table()).await??;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it builds a facade"]
pub struct OffloadBuilder {
    max_concurrency: Option<usize>,
    max_batch: usize,
    max_waiting: usize,
    max_waiting_bytes: usize,
    timeout: Duration,
    slow_threshold: Duration,
}

impl Default for OffloadBuilder {
    fn default() -> Self {
        OffloadBuilder {
            max_concurrency: None,
            max_batch: 256,
            max_waiting: 10_000,
            max_waiting_bytes: 256 << 20,
            timeout: Duration::from_secs(30),
            slow_threshold: DEFAULT_SLOW_THRESHOLD,
        }
    }
}

impl OffloadBuilder {
    /// Sets the largest number of workers, which are threads of tokio's blocking pool that execute calls at the same
    /// time. If there are two or more, one of them is reserved for short calls.
    ///
    /// By default, it is the store's [`parallelism`](Store::parallelism), which is the number of connections of a
    /// [`PostgresStore`], and fewer are used if the server is near. A batch is executed only if a processor is free for
    /// what the program and the server compute, which is taken to be 150 µs per statement and 8 µs per further call. So
    /// there are as many workers as processors if the shortest statements of the last seconds take up to 150 µs, and up
    /// to four times as many if they take 600 µs. Batches that have taken 20 ms do not count, and neither do calls that
    /// may take long. If this is set, the number is not adapted.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn max_concurrency(mut self, count: usize) -> Self {
        assert!(count > 0, "calls need at least one worker");
        self.max_concurrency = Some(count);
        self
    }

    /// Sets the largest number of calls in a batch. With 1, each call is executed alone.
    ///
    /// Defaults to 256. For 1,024 callers on two processors, larger batches were no faster, and batches of 64 were
    /// up to a third slower on few connections.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn max_batch(mut self, calls: usize) -> Self {
        assert!(calls > 0, "a batch has at least one call");
        self.max_batch = calls;
        self
    }

    /// Sets the largest number of waiting calls, including those that an idle worker is about to take. A further call
    /// fails with [`Error::Overloaded`] at once. A call whose future was dropped counts until a worker removes it.
    ///
    /// Defaults to 10,000.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        assert!(calls > 0, "a call waits until a worker takes it");
        self.max_waiting = calls;
        self
    }

    /// Sets the largest number of bytes of values in waiting calls. A further call with a value fails with
    /// [`Error::Overloaded`] at once, unless it is the only waiting call with a value.
    ///
    /// Defaults to 256 MiB.
    pub fn max_waiting_bytes(mut self, bytes: usize) -> Self {
        self.max_waiting_bytes = bytes;
        self
    }

    /// Sets the time limit of a call, from its first poll, including the wait for a worker. At the limit, the call
    /// fails with [`Error::TimedOut`], or with [`Error::StillRunning`] a second later; see [`Offload`]. The store's
    /// own timeout applies too, if it is shorter.
    ///
    /// Defaults to 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the time after which a call is slow, including its wait for a worker. Slow calls are counted in
    /// [`CallStats::slow`](crate::CallStats::slow), and cause an event with the feature `tracing`. With `Duration::MAX`, no
    /// call is slow.
    ///
    /// Defaults to 1 second.
    pub fn slow_threshold(mut self, time: Duration) -> Self {
        self.slow_threshold = time;
        self
    }

    /// Returns a facade for `store`.
    pub fn build<S: Store>(self, store: S) -> Offload<S> {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let limits = Limits {
            workers: self
                .max_concurrency
                .unwrap_or_else(|| store.parallelism().get()),
            processors: self.max_concurrency.is_none().then_some(processors),
            max_batch: self.max_batch,
            max_waiting: self.max_waiting,
            max_waiting_bytes: self.max_waiting_bytes,
        };
        Offload::with(store, limits, self.timeout, self.slow_threshold)
    }
}
