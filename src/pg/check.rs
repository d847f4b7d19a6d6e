//! Checking a table that is there.

use postgres::{Row, error::SqlState, types::Type};

use super::{
    PostgresStore,
    connection::{Connection, StatementError},
};
use crate::{Error, Key};

/// The table, if it is no table, and those of its partitions that are none: what each is. Fails if the table
/// is missing. Parameters: the quoted name.
const NO_TABLES: &str = "WITH RECURSIVE sp__part (oid) AS ( \
         SELECT $1::text::regclass::oid \
         UNION SELECT inhrelid FROM pg_catalog.pg_inherits JOIN sp__part ON inhparent = sp__part.oid \
     ) \
     SELECT sp__part.oid = $1::text::regclass::oid, sp__part.oid::regclass::text, \
            CASE relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' \
                         WHEN 'f' THEN 'a foreign table' ELSE 'no table' END \
     FROM sp__part JOIN pg_catalog.pg_class ON pg_class.oid = sp__part.oid \
     WHERE relkind <> 'r' AND relkind <> 'p' ORDER BY 2";

/// Parameters: the quoted name.
const COLUMNS: &str = "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod), atttypid, atttypmod, \
     attnotnull, atthasdef OR attidentity <> '' OR attgenerated <> '', attgenerated <> '' \
     FROM pg_catalog.pg_attribute \
     WHERE attrelid = $1::text::regclass::oid AND attnum > 0 AND NOT attisdropped \
     ORDER BY attnum";

/// Parameters: the quoted name.
const NONDETERMINISTIC_COLLATION: &str = "SELECT attcollation::regcollation::text \
     FROM pg_catalog.pg_attribute \
     JOIN pg_catalog.pg_collation ON pg_collation.oid = attcollation \
     WHERE attrelid = $1::text::regclass::oid AND attname = 'session_key' AND NOT collisdeterministic";

/// Parameters: one that it does not use.
const ENCODING: &str = "SELECT pg_catalog.getdatabaseencoding()::text";

/// Parameters: the quoted name.
const KEY_HAS_INDEX: &str = "SELECT EXISTS ( \
         SELECT FROM pg_catalog.pg_index \
         JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum = indkey[0] \
         WHERE indrelid = $1::text::regclass::oid AND attname = 'session_key' \
         AND indisvalid AND indpred IS NULL \
     )";

/// Which no `ON CONFLICT` takes. Parameters: the quoted name.
const HAS_DEFERRABLE: &str = "SELECT EXISTS ( \
         SELECT FROM pg_catalog.pg_index \
         WHERE indrelid = $1::text::regclass::oid AND indisunique AND NOT indimmediate \
     )";

/// Parameters: the quoted name.
const PRIVILEGES: &str = "SELECT privilege \
     FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege \
     WHERE NOT pg_catalog.has_table_privilege($1::text::regclass::oid, privilege)";

/// Parameters: one that it does not use.
const HAS_CITUS: &str = "SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL";

/// Only with Citus. Parameters: the quoted name.
const IS_DISTRIBUTED: &str = "SELECT EXISTS ( \
         SELECT FROM pg_catalog.pg_dist_partition \
         WHERE logicalrelid::oid = $1::text::regclass::oid \
     )";

/// Statements that a server plans and does not run. It refuses them as it would refuse the store's own, if
/// a publication of the table, or of one of its partitions, does not allow them.
const PLANS: [(&str, &str); 2] = [
    ("UPDATE", "EXPLAIN UPDATE {table} SET session_data = NULL"),
    ("DELETE", "EXPLAIN DELETE FROM {table}"),
];

/// The class of SQLSTATEs that are about names, types and privileges.
const SYNTAX_OR_ACCESS: &str = "42";

impl PostgresStore {
    /// Checks that the table is there and can hold sessions, that an index finds them, and that the role may
    /// read and write it. Nothing is changed.
    ///
    /// Reported are: views, foreign tables, tables distributed by Citus, and partitions that are foreign
    /// tables; columns that are missing, of another type, generated, or `NOT NULL` without need; a key
    /// without an index, or with a nondeterministic collation; a `DEFERRABLE` unique constraint; a database
    /// whose encoding is not UTF8; a publication without a replica identity that fits; and missing
    /// privileges.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTable`]; [`Error::UnfitTable`] with a sentence for each fault; or
    /// [`Error::Database`].
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
                table: self.table.to_string(),
                problems,
            })
        }
    }

    fn problems(&self, connection: &mut Connection<'_>) -> Result<Vec<String>, StatementError> {
        let mut problems = Vec::new();
        for row in connection.query_catalog(NO_TABLES)? {
            let (is_itself, name, kind): (bool, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if is_itself {
                // Whatever else is asked concerns tables.
                return Ok(vec![format!("it is {kind}, it should be a table")]);
            }
            problems.push(format!(
                "its partition {name} is {kind}, it should be a table of this server, because sessions can \
                 be lost there without an error"
            ));
        }
        if connection.catalog_says(HAS_CITUS)? && connection.catalog_says(IS_DISTRIBUTED)? {
            problems.push(
                "it is distributed by Citus, which refuses the store's statements, it should be a local table"
                    .to_owned(),
            );
        }
        // Some foreign tables and Citus refuse to plan a statement.
        let is_plannable = problems.is_empty();
        let columns = connection.query_catalog(COLUMNS)?;
        let columns = columns
            .iter()
            .map(Column::read)
            .collect::<Result<Vec<_>, _>>()?;
        problems.extend(column_problems(&columns));
        for row in connection.query_catalog(NONDETERMINISTIC_COLLATION)? {
            let collation: String = row.try_get(0)?;
            problems.push(format!(
                "column session_key has the nondeterministic collation {collation}, by which two keys can be \
                 equal, it should have a deterministic one, such as \"C\""
            ));
        }
        for row in connection.query_catalog(ENCODING)? {
            let encoding: String = row.try_get(0)?;
            if encoding != "UTF8" {
                problems.push(format!(
                    "the encoding of the database is {encoding}, it should be UTF8"
                ));
            }
        }
        if !connection.catalog_says(KEY_HAS_INDEX)? {
            let problem = "no index begins with session_key, so each call reads the whole table";
            problems.push(problem.to_owned());
        }
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
            problems.extend(self.publication_problems(connection)?);
        }
        Ok(problems)
    }

    fn publication_problems(
        &self,
        connection: &mut Connection<'_>,
    ) -> Result<Vec<String>, StatementError> {
        let mut problems = Vec::new();
        for (verb, plan) in PLANS {
            let plan = plan.replace("{table}", &self.table.to_string());
            let error = match connection.execute(&plan) {
                Ok(()) => continue,
                Err(StatementError::Driver(error)) => error,
                Err(failure) => return Err(failure),
            };
            problems.push(match error.code() {
                Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => format!(
                    "it is published without a replica identity, so the server refuses {verb}, it should have \
                     a primary key, or REPLICA IDENTITY FULL"
                ),
                Some(&SqlState::INVALID_COLUMN_REFERENCE) => format!(
                    "the column list or the row filter of a publication does not fit its replica identity, so \
                     the server refuses {verb}, the publication should have neither"
                ),
                // Columns that do not fit and missing privileges are reported already.
                Some(code) if code.code().starts_with(SYNTAX_OR_ACCESS) => continue,
                _ => return Err(error.into()),
            });
        }
        Ok(problems)
    }
}

struct Column {
    name: String,
    /// As SQL writes it, `character(40)`, for people.
    ty: String,
    type_id: u32,
    /// What is in the brackets, as the type has it.
    modifier: i32,
    not_null: bool,
    has_default: bool,
    is_generated: bool,
}

impl Column {
    fn read(row: &Row) -> Result<Column, postgres::Error> {
        Ok(Column {
            name: row.try_get(0)?,
            ty: row.try_get(1)?,
            type_id: row.try_get(2)?,
            modifier: row.try_get(3)?,
            not_null: row.try_get(4)?,
            has_default: row.try_get(5)?,
            is_generated: row.try_get(6)?,
        })
    }

    fn is(&self, ty: &Type) -> bool {
        self.type_id == ty.oid()
    }

    /// Whether what is in the brackets is at least this. Without brackets, it is.
    fn takes(&self, modifier: i32) -> bool {
        self.modifier == -1 || self.modifier >= modifier
    }
}

/// What a column must be for the store: its name, a test, and the type to tell of.
type Need = (&'static str, fn(&Column) -> bool, &'static str);

const NEEDS: [Need; 3] = [
    (
        "session_key",
        // With any other the server compares by a cast, and uses no index. A length counts 4 bytes more.
        |c| c.is(&Type::TEXT) || c.is(&Type::BPCHAR) && c.takes(Key::MAX_LEN as i32 + 4),
        "char(40), or text",
    ),
    (
        "expire_date",
        // Coarser ones would round a life of nothing up to one that can be seen.
        |c| c.is(&Type::TIMESTAMPTZ) && c.takes(2),
        "timestamp (2) with time zone",
    ),
    (
        "session_data",
        |c| {
            [Type::TEXT, Type::VARCHAR, Type::BPCHAR]
                .iter()
                .any(|ty| c.is(ty))
                && c.modifier == -1
        },
        "text",
    ),
];

fn column_problems(columns: &[Column]) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, fits, ty) in NEEDS {
        match columns.iter().find(|column| column.name == name) {
            None => problems.push(format!("column {name} is missing, it should be {ty}")),
            Some(column) if name == "session_key" && column.is(&Type::VARCHAR) => {
                problems.push(format!(
                    "column {name} is {}, for which calls use no index, it should be {ty}",
                    column.ty
                ));
            }
            Some(column) if !fits(column) => {
                problems.push(format!("column {name} is {}, it should be {ty}", column.ty));
            }
            Some(column) if column.is_generated => {
                problems.push(format!(
                    "column {name} is generated, so nothing can be stored in it"
                ));
            }
            Some(column) if name == "session_data" && column.not_null => {
                problems.push(format!(
                    "column {name} is NOT NULL, so no session can be unset"
                ));
            }
            Some(_) => {}
        }
    }
    let others = columns
        .iter()
        .filter(|column| NEEDS.iter().all(|need| need.0 != column.name));
    for column in others.filter(|column| column.not_null && !column.has_default) {
        problems.push(format!(
            "column {} is NOT NULL without a default, so no session can be added",
            column.name
        ));
    }
    problems
}
