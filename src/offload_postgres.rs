//! What a facade offers if its store is a [`PostgresStore`].

use std::panic::resume_unwind;

use tokio::runtime::Handle;

use crate::{
    ConnectOptions, Error, Offload, OffloadBuilder, PostgresStore, PostgresStoreBuilder, Pruner,
    PrunerBuilder,
};

impl Offload<PostgresStore> {
    /// Returns a builder for a facade with other than the default options, for any store.
    pub fn builder() -> OffloadBuilder {
        OffloadBuilder::default()
    }

    /// Connects in a thread, as [`PostgresStore::connect`] does; [`OffloadBuilder::connect`] takes options.
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

    /// Starts a [`Pruner`] for the store, which it keeps until it is dropped. It occupies no worker, but now
    /// and then one of the store's connections for some milliseconds.
    ///
    /// # Panics
    ///
    /// If the system has no thread left.
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
        options.start(self.keep())
    }
}

impl OffloadBuilder {
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
}
