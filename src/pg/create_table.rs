//! Creating the sessions table.

use super::{
    PostgresStore,
    connection::{Connection, StatementError},
    names::PLAIN_KEY,
};
use crate::Error;

/// The recommended table. Its name is `"session"` there.
const CREATE: &str = include_str!("../../sql/create.sql");

/// The storage parameters in [`CREATE`]. A partitioned table has none itself.
const STORAGE: &str = " WITH (fillfactor = 90)";

/// Held while a table is created or a map is changed, so that processes that do it at the same time create one index. The
/// number is arbitrary, and the same for all sessions tables.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(7305793421985162861)";

/// Parameters: the quoted name.
const EXISTS: &str = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";

impl PostgresStore {
    /// Creates the sessions table as defined in `sql/create.sql`, if it does not exist. With the option
    /// [`partitions`](crate::PostgresStoreBuilder::partitions), it is the table of `sql/partitioned.sql`.
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
        let table = self.names.fill(&self.definition());
        connection.execute(&format!("{table}\n{}", self.partitions()))
    }

    /// Returns the statements that create the partitions.
    fn partitions(&self) -> String {
        let Some(count) = self.partitions else {
            return String::new();
        };
        let table = &self.names.table;
        let partition = |number| {
            let partition = table.partition(number);
            format!(
                "CREATE TABLE {partition} PARTITION OF {table} \
                 FOR VALUES WITH (MODULUS {count}, REMAINDER {number}){STORAGE};\n"
            )
        };
        (0..count).map(partition).collect()
    }

    /// Returns `sql/create.sql`, without partitions, with the placeholders of [`Names::fill`](super::names::Names::fill).
    fn definition(&self) -> String {
        // A name with a line break would end a comment.
        let code = CREATE.lines().filter(|line| !line.starts_with("--"));
        let definition = code.collect::<Vec<_>>().join("\n");
        // The server names the index after the table.
        let definition = definition.replace("IF NOT EXISTS session_owner_idx ", "");
        let definition = match self.partitions {
            Some(_) => definition.replace(STORAGE, &format!(" PARTITION BY HASH ({PLAIN_KEY})")),
            None => definition,
        };
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
