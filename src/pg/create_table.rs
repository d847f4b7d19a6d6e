//! Creating the sessions table.

use super::{
    PostgresStore,
    connection::{Connection, StatementError},
    names::PLAIN_KEY,
};
use crate::Error;

/// The recommended table. Its name is `"session"` there.
const CREATE: &str = include_str!("../../sql/create.sql");

/// Held while a table is created or a map is changed, so that processes that do it at the same time create one index. The
/// number is arbitrary, and the same for all sessions tables.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(7305793421985162861)";

/// Parameters: the quoted name.
const EXISTS: &str = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";

impl PostgresStore {
    /// Creates the sessions table as defined in `sql/create.sql`, if it does not exist.
    ///
    /// The columns have the [names](crate::PostgresStoreBuilder::columns) and the
    /// [type of values](crate::PostgresStoreBuilder::value_type) that were set. An existing table is not changed;
    /// [`check`](Self::check) returns whether it can hold sessions. Any number of processes may call this at the same
    /// time. If the table exists, the role needs no privilege to create tables.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], for example if the role may not create tables, if the schema does not exist, or if
    /// the search path names no schema.
    pub fn create_table(&self) -> Result<(), Error> {
        let created = self.with_connection(|connection| {
            if connection.catalog_says(EXISTS)? {
                return Ok(());
            }
            connection.begin()?;
            connection.execute(LOCK)?;
            self.create(connection)?;
            connection.commit()
        });
        created.map_err(|error| match error {
            // The schema is missing. The error would advise to call this method.
            Error::MissingTable { source, .. } => Error::Database(source),
            other => other,
        })
    }

    fn create(&self, connection: &mut Connection<'_>) -> Result<(), StatementError> {
        if connection.catalog_says(EXISTS)? {
            // Another process has created it in the meantime.
            return Ok(());
        }
        connection.execute(&self.names.fill(&self.definition()))
    }

    /// Returns `sql/create.sql` with the placeholders of [`Names::fill`](super::names::Names::fill).
    fn definition(&self) -> String {
        // A name with a line break would end a comment.
        let code = CREATE.lines().filter(|line| !line.starts_with("--"));
        let definition = code.collect::<Vec<_>>().join("\n");
        // The server names the index after the table.
        let definition = definition.replace("IF NOT EXISTS session_owner_idx ", "");
        let mut definition = definition.replace("\"session\"", "{table}").replace(
            "session_data text",
            &format!("{{value}} {}", self.value_type.name()),
        );
        for (name, placeholder) in [
            (PLAIN_KEY, "{key}"),
            ("expire_date", "{expiry}"),
            ("created_at", "{created}"),
            ("owner", "{owner}"),
        ] {
            definition = definition.replace(name, placeholder);
        }
        definition
    }
}
