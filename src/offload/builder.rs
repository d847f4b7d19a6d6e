//! The options of a facade.

use std::time::Duration;

use super::{Offload, queue::Limits};
use crate::Store;
#[cfg(doc)]
use crate::{Error, PostgresStore};

/// Options for an [`Offload`]; made by [`Offload::builder`].
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
#[must_use = "a builder does nothing until a facade is made of it"]
pub struct OffloadBuilder {
    max_concurrency: Option<usize>,
    max_batch: usize,
    max_waiting: usize,
    max_waiting_bytes: usize,
    timeout: Duration,
}

impl Default for OffloadBuilder {
    fn default() -> Self {
        OffloadBuilder {
            max_concurrency: None,
            max_batch: 256,
            max_waiting: 10_000,
            max_waiting_bytes: 256 << 20,
            timeout: Duration::from_secs(30),
        }
    }
}

impl OffloadBuilder {
    /// Sets the largest number of workers: threads of tokio's blocking pool that execute calls or batches at
    /// the same time. With two or more, calls that may take long occupy all of them but one.
    ///
    /// Defaults to the store's [`parallelism`](Store::parallelism): as many as a [`PostgresStore`] has
    /// connections, so that a slow call delays few others. On a small machine that has the server too, two to four
    /// are up to a fifth faster from a few hundred callers on.
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
    /// Defaults to 256: for 1,024 callers on two processors, larger batches were no faster, and those of 64
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

    /// Sets how many calls may wait, including those that an idle worker is about to take. A further one is
    /// [`Error::Overloaded`] at once. A call whose future was dropped counts until a worker comes to it.
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

    /// Sets how many bytes of values the waiting calls may hold. A further call that holds a value is
    /// [`Error::Overloaded`] at once, unless no other value waits.
    ///
    /// Defaults to 256 MiB.
    pub fn max_waiting_bytes(mut self, bytes: usize) -> Self {
        self.max_waiting_bytes = bytes;
        self
    }

    /// Sets how long a call may take in all, from when it is first polled, waiting for a lane included.
    /// Then its caller is told [`Error::TimedOut`]; see [`Offload`] for what
    /// becomes of the work. The store's own timeout holds as well, if that is shorter.
    ///
    /// Defaults to 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the facade for this store.
    pub fn build<S: Store>(self, store: S) -> Offload<S> {
        let limits = Limits {
            workers: self
                .max_concurrency
                .unwrap_or_else(|| store.parallelism().get()),
            max_batch: self.max_batch,
            max_waiting: self.max_waiting,
            max_waiting_bytes: self.max_waiting_bytes,
        };
        Offload::with(store, limits, self.timeout)
    }
}
