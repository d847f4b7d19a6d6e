//! Checking whether an existing table can hold sessions.

mod columns;
mod kind_of_table;
mod publications;
mod servers;

use self::columns::Column;
use super::{
    PostgresStore,
    connection::{Connection, StatementError},
};
use crate::Error;

/// Parameters: one that is not used.
const ENCODING: &str = "SELECT pg_catalog.getdatabaseencoding()::text";

/// The columns with which an index begins, and whether the index has all rows. Parameters: the quoted name.
const INDEXED: &str = "SELECT attname::text, indpred IS NULL FROM pg_catalog.pg_index \
     JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum = indkey[0] \
     WHERE indrelid = $1::text::regclass::oid AND indisvalid";

/// Whether a unique index is deferrable. `ON CONFLICT` cannot use such an index. Parameters: the quoted name.
const HAS_DEFERRABLE: &str = "SELECT EXISTS ( \
         SELECT FROM pg_catalog.pg_index \
         WHERE indrelid = $1::text::regclass::oid AND indisunique AND NOT indimmediate \
     )";

/// The privileges that the role lacks. Parameters: the quoted name.
const PRIVILEGES: &str = "SELECT privilege \
     FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege \
     WHERE NOT pg_catalog.has_table_privilege($1::text::regclass::oid, privilege)";

impl PostgresStore {
    /// Checks that the table exists, can hold sessions and has an index on the key, and that the role may read and
    /// write it. Nothing is changed.
    ///
    /// These problems are reported:
    ///
    /// - views, foreign tables, tables distributed by Citus, and partitions that are foreign tables;
    /// - a pooler or load balancer that sends statements to different servers, unless they are copies of one server's files or
    ///   the role may not call `pg_control_system()`. Up to three more connections are used to find that out;
    /// - columns that are missing, have another type, are generated, or are `NOT NULL` although the store does not
    ///   always set them;
    /// - a key without an index or with a nondeterministic collation, and an owner without an index;
    /// - hashed keys if [`hash_keys`](crate::PostgresStoreBuilder::hash_keys) is off, and other keys if it is on;
    /// - a `DEFERRABLE` unique constraint;
    /// - a database whose encoding is not UTF8;
    /// - a table that belongs to a [`Sharded`](crate::Sharded) store, if this store is not one of its servers;
    /// - a publication whose tables have no suitable replica identity, so that the server refuses updates or
    ///   deletes;
    /// - missing privileges.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTable`] if the table does not exist, [`Error::UnfitTable`] with a sentence for each
    /// problem, or [`Error::Database`].
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{Error, PostgresStore};
    ///
    /// # let server = throwaway_postgres::Server::start()?;
    /// # let url = server.url();
    /// let store = PostgresStore::connect(url)?;
    /// assert!(matches!(store.check(), Err(Error::MissingTable { .. })));
    /// store.create_table()?;
    /// store.check()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self) -> Result<(), Error> {
        let problems = self.with_connection(|connection| self.problems(connection))?;
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::UnfitTable {
                table: self.names.table.to_string(),
                problems,
            })
        }
    }

    fn problems(&self, connection: &mut Connection<'_>) -> Result<Vec<String>, StatementError> {
        let scattered = self.server_problems(connection)?;
        if !scattered.is_empty() {
            // Each of the other queries could be answered by another server.
            return Ok(scattered);
        }
        let (is_table, mut problems) = kind_of_table::problems(connection)?;
        if !is_table {
            // The other queries are about tables.
            return Ok(problems);
        }
        // Some foreign tables and Citus fail to plan a statement.
        let is_plannable = problems.is_empty();
        let columns = Column::read_all(connection)?;
        problems.extend(self.column_problems(&columns));
        problems.extend(columns::collation_problems(connection, &self.names)?);
        for row in connection.query_catalog(ENCODING)? {
            let encoding: String = row.try_get(0)?;
            if encoding != "UTF8" {
                problems.push(format!(
                    "the encoding of the database is {encoding}, but must be UTF8"
                ));
            }
        }
        problems.extend(self.index_problems(connection, &columns)?);
        if connection.catalog_says(HAS_DEFERRABLE)? {
            let problem = "a unique constraint of it is DEFERRABLE, so no session can be inserted";
            problems.push(problem.to_owned());
        }
        for row in connection.query_catalog(PRIVILEGES)? {
            let privilege: String = row.try_get(0)?;
            problems.push(format!(
                "the role lacks {privilege} on it: see sql/grant.sql"
            ));
        }
        if is_plannable {
            problems.extend(publications::problems(connection, &self.names)?);
        }
        if let Some(server) = self.map_not_joined(connection)? {
            problems.push(format!(
                "it belongs to server {server} of several: use it in a `Sharded` store, because sessions that this store \
                 creates would not be found there"
            ));
        }
        Ok(problems)
    }

    fn index_problems(
        &self,
        connection: &mut Connection<'_>,
        columns: &[Column],
    ) -> Result<Vec<String>, StatementError> {
        let (key, owner) = (self.names.columns.key(), self.names.columns.owner());
        let (mut key_has_index, mut owner_has_index) = (false, false);
        for row in connection.query_catalog(INDEXED)? {
            let (column, has_all_rows): (&str, bool) = (row.try_get(0)?, row.try_get(1)?);
            key_has_index |= column == key && has_all_rows;
            owner_has_index |= column == owner;
        }
        let mut problems = Vec::new();
        if !key_has_index {
            problems.push(format!(
                "no index begins with {key}, so each call reads the whole table"
            ));
        }
        if !owner_has_index && columns.iter().any(|column| column.name == owner) {
            problems.push(format!(
                "no index begins with {owner}, so `owned` and `clear_owned` read the whole table: see \
                 sql/add-columns.sql"
            ));
        }
        Ok(problems)
    }
}
