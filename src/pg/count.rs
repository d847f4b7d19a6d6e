//! Counting the sessions.

use super::{PostgresStore, connection::Effect};
use crate::{Error, Method};

impl PostgresStore {
    /// Returns the number of sessions, without expired ones. It reads the whole table, which takes about a second for ten
    /// million sessions.
    ///
    /// It is for operators, for example to see how many sessions are left on a server that is closed for new ones; see
    /// [`Sharded`](crate::Sharded).
    ///
    /// # Errors
    ///
    /// [`Error::MissingTable`], [`Error::TimedOut`] or another error of a read.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{PostgresStore, Store};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::connect(url)?;
    /// store.create_table()?;
    /// store.generate(None, None)?;
    /// assert_eq!(store.count()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count(&self) -> Result<u64, Error> {
        self.one(Method::Run, || {
            self.with_connection(|connection| {
                let rows = connection.query(&self.sql.count, &[], Effect::None)?;
                let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
                Ok(count.unsigned_abs())
            })
        })
    }
}
