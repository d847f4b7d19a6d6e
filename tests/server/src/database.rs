//! The database for tests: that of `DATABASE_URL`, or a throwaway server.

use std::env;

use crate::{Error, Server};

/// The database that `DATABASE_URL` names, or a throwaway server if it is unset or empty.
#[derive(Debug)]
pub enum Database {
    /// The database that `DATABASE_URL` names. It remains when the tests end.
    External {
        /// The value of `DATABASE_URL`.
        url: String,
    },
    /// A throwaway server.
    Own(Box<Server>),
}

impl Database {
    /// Reads `DATABASE_URL`, and starts a server if it is unset or empty.
    ///
    /// # Errors
    ///
    /// If `DATABASE_URL` is unset or empty and [`Server::start`] fails.
    pub fn open() -> Result<Self, Error> {
        match env::var("DATABASE_URL") {
            Ok(url) if !url.is_empty() => Ok(Self::External { url }),
            _ => Ok(Self::Own(Box::new(Server::start()?))),
        }
    }

    /// Returns the connection string.
    pub fn url(&self) -> &str {
        match self {
            Self::External { url } => url,
            Self::Own(server) => server.url(),
        }
    }
}
