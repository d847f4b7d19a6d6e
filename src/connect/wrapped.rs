//! Connections for a pool of the store's own, made by the driver with a configuration that is given.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use postgres::{
    Client, Socket,
    tls::{MakeTlsConnect, TlsConnect},
};
use r2d2::ManageConnection;
use r2d2_postgres::PostgresConnectionManager;

use crate::{blocking::is_about_async, error::DatabaseError};

/// As its inner, with errors that name their cause: the pool passes on no more than their text.
pub(crate) struct WithConfig<T>(pub(crate) PostgresConnectionManager<T>);

impl<T> ManageConnection for WithConfig<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::TlsConnect: Send,
    T::Stream: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    type Connection = Client;
    type Error = DatabaseError;

    fn connect(&self) -> Result<Client, DatabaseError> {
        // The driver panics where no file descriptor is left, and the pool would be short of a place
        // for ever.
        match catch_unwind(AssertUnwindSafe(|| self.0.connect())) {
            Ok(connected) => connected.map_err(|e| DatabaseError::from(&e)),
            Err(panic) if is_about_async(&*panic) => resume_unwind(panic),
            Err(_) => Err(DatabaseError::new("the driver panicked while it connected")),
        }
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), DatabaseError> {
        self.0.is_valid(client).map_err(|e| DatabaseError::from(&e))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        self.0.has_broken(client)
    }
}
