//! Making the table.

use super::PostgresStore;
use crate::Error;

/// The recommended table; its name is `"session"` there.
const CREATE: &str = include_str!("../../sql/create.sql");

/// Held while the table is made, for `IF NOT EXISTS` alone fails where two do it at once. The number
/// is only the same for all who make sessions tables.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7305793421985162861);";

/// Parameters: the quoted name.
const EXISTS: &str = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";

impl PostgresStore {
    /// Makes the table as `sql/create.sql` has it, if it is not there.
    ///
    /// Any number of processes may do this at once, and a role that may not create tables may do it
    /// where the table is there. A table that is there stays as it is; [`check`](Self::check) says
    /// whether it fits.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], for example if the role may not create tables, or if the schema is missing or
    /// the search path names none.
    pub fn create_table(&self) -> Result<(), Error> {
        let create = CREATE.replace("\"session\"", &self.table.to_string());
        let created = self.with_connection(|connection| {
            if connection.catalog_says(EXISTS)? {
                return Ok(());
            }
            // Sent as one, the two are one transaction.
            connection.execute(&format!("{LOCK}\n{create}"))
        });
        created.map_err(|error| match error {
            // That the table is missing is why it is made: what is missing is its schema.
            Error::MissingTable { source, .. } => Error::Database(source),
            other => other,
        })
    }
}
