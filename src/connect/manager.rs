//! Connections for a pool of the store's own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use postgres::Client;
use r2d2::ManageConnection;

use super::{dial::Dialer, error::ConnectError};
use crate::blocking::is_about_async;

/// How long a connection may take to show that it is alive.
const PROBE: Duration = Duration::from_secs(5);

pub(crate) struct Manager {
    dialer: Arc<Dialer>,
    /// A connection that was made before the pool was.
    first: Mutex<Option<Client>>,
}

impl Manager {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Manager {
        Manager {
            dialer,
            first: Mutex::new(None),
        }
    }

    /// Makes the connection that the pool will ask for first: the pool would try again for its whole
    /// timeout, and tell little of why.
    pub(crate) fn begin(&self) -> Result<(), ConnectError> {
        let client = self.connect()?;
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
        Ok(())
    }
}

impl ManageConnection for Manager {
    type Connection = Client;
    type Error = ConnectError;

    fn connect(&self) -> Result<Client, ConnectError> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = first.take() {
            return Ok(client);
        }
        // Others connect meanwhile.
        drop(first);
        // The driver panics where no file descriptor is left, and the pool would be short of a place
        // for ever.
        catch_unwind(AssertUnwindSafe(|| self.dialer.dial())).unwrap_or_else(|panic| {
            match is_about_async(&*panic) {
                true => resume_unwind(panic),
                false => Err(ConnectError::panicked()),
            }
        })
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), ConnectError> {
        client.is_valid(PROBE).map_err(|e| ConnectError::from(&e))
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}
