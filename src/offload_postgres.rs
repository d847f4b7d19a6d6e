//! Methods of a facade whose store is a [`PostgresStore`], and the pruner of a facade.

use std::panic::resume_unwind;

use postgres::Client;
use tokio::runtime::Handle;

use crate::{
    ConnectOptions, Error, Offload, OffloadBuilder, PostgresStore, PostgresStoreBuilder, Pruner,
    PrunerBuilder, SessionTransaction, Store, StoreStats,
};

impl Offload<PostgresStore> {
    /// Returns a builder for a facade for any store.
    ///
    /// It is defined for one type of store so that `Offload::builder()` needs no type annotation.
    pub fn builder() -> OffloadBuilder {
        OffloadBuilder::default()
    }

    /// Connects like [`PostgresStore::connect`], on a thread of the runtime's blocking pool, and returns a facade
    /// for the store. To set options, use [`OffloadBuilder::connect`].
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

    /// Lends a connection of the store to blocking work, for SQL of your own. This is
    /// [`PostgresStore::with_client`] inside [`run`](Self::run), with one `Result`.
    ///
    /// # Errors
    ///
    /// The error of `work`, or one of [`PostgresStore::with_client`] or [`run`](Self::run) that is converted to its type.
    ///
    /// # Panics
    ///
    /// If `work` panics.
    ///
    /// # Cancel safety
    ///
    /// That of [`run`](Self::run).
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{Error, Offload};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let database_url = server.url();
    /// let store = Offload::connect(database_url).await?;
    /// let version: String = store
    ///     .with_client(|client| Ok::<_, Error>(client.query_one("SHOW server_version", &[])?.try_get(0)?))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn with_client<T, E>(
        &self,
        work: impl FnOnce(&mut Client) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let done = self.run(|store| flatten(store.with_client(work))).await;
        flatten(done)
    }

    /// Executes blocking work in a transaction on a connection of the store. This is [`PostgresStore::transaction`]
    /// inside [`run`](Self::run), with one `Result`.
    ///
    /// # Errors
    ///
    /// The error of `work`, or one of [`PostgresStore::transaction`] or [`run`](Self::run) that is converted to its type.
    ///
    /// # Panics
    ///
    /// If `work` panics.
    ///
    /// # Cancel safety
    ///
    /// That of [`run`](Self::run). If the future is dropped, the transaction may be committed or not.
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
    /// # store.with_client(|client| Ok::<_, session_postgres::Error>(client.batch_execute("CREATE TABLE users (id int, email text)")?)).await?;
    /// let key = store.generate(None, None).await?;
    /// store
    ///     .transaction(move |transaction| {
    ///         transaction.execute("UPDATE users SET email = 'new@example.com' WHERE id = 42", &[])?;
    ///         transaction.set(&key, "new@example.com", None)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transaction<T, E>(
        &self,
        work: impl FnOnce(&mut SessionTransaction<'_, '_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        flatten(self.run(|store| store.transaction(work)).await)
    }

    /// Returns the number of sessions, without expired ones. This is [`PostgresStore::count`] inside [`run`](Self::run), with
    /// one `Result`.
    ///
    /// # Errors
    ///
    /// Those of [`PostgresStore::count`] and [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// That of [`run`](Self::run).
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
    /// store.generate(None, None).await?;
    /// assert_eq!(store.count().await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn count(&self) -> Result<u64, Error> {
        flatten(self.run(PostgresStore::count).await)
    }

    /// Returns the counters of the store. This is [`PostgresStore::stats`], and does not wait for a worker.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::Offload;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let database_url = server.url();
    /// let store = Offload::connect(database_url).await?;
    /// let stats = store.store_stats();
    /// assert_eq!((stats.broken_connections, stats.retries), (0, 0));
    /// assert_eq!(stats.connections.max, 10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn store_stats(&self) -> StoreStats {
        self.keep().stats()
    }
}

impl<S: Store> Offload<S> {
    /// Starts a [`Pruner`] for the store. The store is kept until the pruner is dropped.
    ///
    /// The pruner has a thread of its own and occupies no worker. On a [`PostgresStore`], it uses one
    /// of the store's connections for some milliseconds at a time.
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread.
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
    /// // Serve requests.
    /// drop(pruner);
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_pruner(&self, options: PrunerBuilder) -> Pruner {
        options.start(self.keep())
    }
}

fn flatten<T, E: From<Error>>(result: Result<Result<T, E>, Error>) -> Result<T, E> {
    result.unwrap_or_else(|error| Err(error.into()))
}

impl OffloadBuilder {
    /// Connects like [`PostgresStoreBuilder::connect`], on a thread of the runtime's blocking pool, and returns a
    /// facade for the store.
    ///
    /// # Errors
    ///
    /// Those of [`PostgresStoreBuilder::connect`]. [`Error::NoRuntime`] outside of a tokio runtime.
    /// [`Error::Cancelled`] if the runtime shuts down.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed as soon as it is open. The thread that connects cannot be
    /// interrupted. A runtime that is dropped waits for it, at most for the `connect_timeout` of each address.
    /// [`Runtime::shutdown_timeout`](tokio::runtime::Runtime::shutdown_timeout) limits this wait.
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
        // The result is a facade and not a store, because a facade can be dropped on any thread.
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
