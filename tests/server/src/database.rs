//! The database that tests use.

use std::env;

use crate::{Error, Server};

/// The database of `DATABASE_URL` where that is set and not empty, else one of a server of its own.
#[derive(Debug)]
pub enum Database {
    /// The one that `DATABASE_URL` names. It is used as it is and stays when the tests end.
    External {
        /// The value of `DATABASE_URL`.
        url: String,
    },
    /// A throwaway server.
    Own(Box<Server>),
}

impl Database {
    /// Reads `DATABASE_URL`, and starts a server where it is not set.
    ///
    /// # Errors
    ///
    /// When there is no `DATABASE_URL` and [`Server::start`] fails.
    pub fn open() -> Result<Self, Error> {
        match env::var("DATABASE_URL") {
            Ok(url) if !url.is_empty() => Ok(Self::External { url }),
            _ => Ok(Self::Own(Box::new(Server::start()?))),
        }
    }

    /// The connection string.
    pub fn url(&self) -> &str {
        match self {
            Self::External { url } => url,
            Self::Own(server) => server.url(),
        }
    }
}
