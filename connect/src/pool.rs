//! Managers for `r2d2` pools.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use postgres::{
    Client, Config, Socket,
    tls::{MakeTlsConnect, TlsConnect},
};
use r2d2::ManageConnection;
use r2d2_postgres::PostgresConnectionManager;

use crate::{async_context::is_async_context, connector::Connector, error::Error};

/// The time in which a connection must answer to be valid.
const PROBE: Duration = Duration::from_secs(5);

/// An [`r2d2`] manager of connections that a [`Connector`] opens.
///
/// A connection is valid if the server answers within 5 seconds.
///
/// # Examples
///
/// ```no_run
/// use postgres_connect::{ConnectOptions, ConnectionManager, Connector, r2d2::Pool};
///
/// let options: ConnectOptions = "postgresql://web@db.example.com/app".parse()?;
/// let manager = ConnectionManager::new(Connector::new(&options)?);
/// let pool = Pool::builder().max_size(4).build(manager)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ConnectionManager {
    connector: Connector,
    /// A connection that was opened before the pool was built.
    first: Mutex<Option<Client>>,
}

impl ConnectionManager {
    /// Returns a manager. Nothing is connected yet.
    pub fn new(connector: Connector) -> ConnectionManager {
        ConnectionManager {
            connector,
            first: Mutex::new(None),
        }
    }

    /// Opens the connection that the pool will ask for first.
    ///
    /// A program that does this before it builds the pool sees the error at once. A pool tries again for its
    /// whole timeout and reports less.
    ///
    /// # Errors
    ///
    /// Those of [`Connector::connect`].
    pub fn connect_first(&self) -> Result<(), Error> {
        let client = self.connect()?;
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
        Ok(())
    }

    fn take_first(&self) -> Option<Client> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.take()
    }
}

impl ManageConnection for ConnectionManager {
    type Connection = Client;
    type Error = Error;

    fn connect(&self) -> Result<Client, Error> {
        match self.take_first() {
            Some(client) => Ok(client),
            None => self.connector.connect(),
        }
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), Error> {
        client.is_valid(PROBE).map_err(|e| Error::from(&e))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}

impl fmt::Debug for ConnectionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionManager")
            .field("connector", &self.connector)
            .finish_non_exhaustive()
    }
}

/// An [`r2d2`] manager of connections that the driver opens with a given configuration.
///
/// It differs from [`PostgresConnectionManager`] in two ways. Its errors contain their causes, because a pool
/// passes on only their text. A panic of the driver, which happens if no file descriptor is left, is an
/// error, because after a panic the pool would have one connection less.
///
/// # Examples
///
/// ```no_run
/// use postgres_connect::{
///     ConfigManager,
///     postgres::{Config, NoTls},
///     r2d2::Pool,
/// };
///
/// let config: Config = "postgresql://web@db.example.com/app".parse()?;
/// let pool = Pool::builder().max_size(4).build(ConfigManager::new(config, NoTls))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ConfigManager<T>(PostgresConnectionManager<T>);

impl<T> ConfigManager<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::TlsConnect: Send,
    T::Stream: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    /// Returns a manager. Nothing is connected yet.
    pub fn new(config: Config, tls: T) -> ConfigManager<T> {
        ConfigManager(PostgresConnectionManager::new(config, tls))
    }
}

impl<T> ManageConnection for ConfigManager<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::TlsConnect: Send,
    T::Stream: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    type Connection = Client;
    type Error = Error;

    fn connect(&self) -> Result<Client, Error> {
        match catch_unwind(AssertUnwindSafe(|| self.0.connect())) {
            Ok(connected) => connected.map_err(|e| Error::from(&e)),
            Err(panic) if is_async_context(&*panic) => Err(Error::async_context()),
            Err(_) => Err(Error::panicked()),
        }
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), Error> {
        self.0.is_valid(client).map_err(|e| Error::from(&e))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        self.0.has_broken(client)
    }
}

impl<T> fmt::Debug for ConfigManager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigManager").finish_non_exhaustive()
    }
}
