//! The options of a facade.

use std::{panic::resume_unwind, time::Duration};

use tokio::runtime::Handle;

use super::{Offload, queue::Limits};
use crate::{ConnectOptions, Error, PostgresStore, PostgresStoreBuilder, Store};

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
    /// Defaults to the store's [`parallelism`](Store::parallelism): as many as a [`PostgresStore`] has
    /// connections, so that a slow call holds up as few others as can be. On a small machine that has the
    /// server too, two to four are up to a fifth faster from a few hundred callers on.
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
    /// Defaults to 256: for 1,024 callers on two processors, larger trips were no faster, and those of 64
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

    /// Sets how many calls may wait, those included that an idle lane is about to take; a further one is
    /// [`Error::Overloaded`] at once. A call whose caller has gone counts until a lane comes to it and
    /// leaves it out.
    ///
    /// Defaults to 10,000.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        assert!(calls > 0, "a call waits until a lane takes it");
        self.max_waiting = calls;
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

    /// Connects in a thread, as [`PostgresStoreBuilder::connect`] does, and makes the facade for that
    /// store.
    ///
    /// # Errors
    ///
    /// Those of [`PostgresStoreBuilder::connect`]; [`Error::NoRuntime`] outside of a tokio runtime, and
    /// [`Error::Cancelled`] where it shuts down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the connection, once it is made. The thread that connects cannot be
    /// stopped, so a runtime that is dropped meanwhile waits for it, at most until the `connect_timeout` of
    /// every address has passed; [`Runtime::shutdown_timeout`](tokio::runtime::Runtime::shutdown_timeout)
    /// waits for less.
    pub async fn connect<O>(
        self,
        store: PostgresStoreBuilder,
        options: O,
    ) -> Result<Offload<PostgresStore>, Error>
    where
        O: TryInto<ConnectOptions>,
        O::Error: Into<Error>,
    {
        let options = options.try_into().map_err(Into::into)?;
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        // Whoever drops what comes of it, on whatever thread, drops a facade, which is prepared for that.
        let connect = move || Ok(self.build(store.connect(options)?));
        match runtime.spawn_blocking(connect).await {
            Ok(connected) => connected,
            Err(end) => match end.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(Error::Cancelled),
            },
        }
    }

    /// Makes the facade for this store.
    pub fn build<S: Store>(self, store: S) -> Offload<S> {
        let limits = Limits {
            lanes: self.lanes.unwrap_or_else(|| store.parallelism().get()),
            max_batch: self.max_batch,
            max_waiting: self.max_waiting,
        };
        Offload::with(store, limits, self.timeout)
    }
}
