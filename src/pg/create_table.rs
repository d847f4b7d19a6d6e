//! Creating the sessions table.

use super::PostgresStore;
use crate::Error;

/// The recommended table. Its name is `"session"` there.
const CREATE: &str = include_str!("../../sql/create.sql");

/// Held while the table is created, because `IF NOT EXISTS` fails if two processes do it at the same time. The
/// number is arbitrary, and the same for all sessions tables.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7305793421985162861);";

/// Parameters: the quoted name.
const EXISTS: &str = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";

impl PostgresStore {
    /// Creates the sessions table as defined in `sql/create.sql`, if it does not exist.
    ///
    /// An existing table is not changed; [`check`](Self::check) returns whether it can hold sessions. Any number
    /// of processes may call this at the same time. If the table exists, the role needs no privilege to create
    /// tables.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], for example if the role may not create tables, if the schema does not exist, or if
    /// the search path names no schema.
    pub fn create_table(&self) -> Result<(), Error> {
        let create = CREATE.replace("\"session\"", &self.table.to_string());
        let created = self.with_connection(|connection| {
            if connection.catalog_says(EXISTS)? {
                return Ok(());
            }
            // Sent together, they are one transaction.
            connection.execute(&format!("{LOCK}\n{create}"))
        });
        created.map_err(|error| match error {
            // The schema is missing. The error would advise to call this method.
            Error::MissingTable { source, .. } => Error::Database(source),
            other => other,
        })
    }
}
