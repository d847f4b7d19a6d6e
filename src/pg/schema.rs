//! The table itself: making it, and checking one that is there.

use postgres::{Row, types::Type};

use super::{PostgresStore, connection::Connection};
use crate::{Error, Key};

/// The recommended table; its name is `"session"` there.
const CREATE: &str = include_str!("../../sql/create.sql");

/// Held while the table is made, for `IF NOT EXISTS` alone fails where two do it at once. The number
/// is only the same for all who make sessions tables.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7305793421985162861);";

/// Parameters: the quoted name.
const EXISTS: &str = "SELECT to_regclass($1) IS NOT NULL";

/// Fails where the table is missing. Parameters: the quoted name.
const COLUMNS: &str = "SELECT attname::text, format_type(atttypid, atttypmod), atttypid, atttypmod, \
     attnotnull, atthasdef OR attidentity <> '' OR attgenerated <> '', attgenerated <> '' \
     FROM pg_attribute \
     WHERE attrelid = $1::text::regclass::oid AND attnum > 0 AND NOT attisdropped \
     ORDER BY attnum";

/// Parameters: the quoted name.
const KEY_HAS_INDEX: &str = "SELECT EXISTS ( \
         SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] \
         WHERE indrelid = $1::text::regclass::oid AND attname = 'session_key' \
         AND indisvalid AND indpred IS NULL \
     )";

/// Which no `ON CONFLICT` takes. Parameters: the quoted name.
const HAS_DEFERRABLE: &str = "SELECT EXISTS ( \
         SELECT FROM pg_index \
         WHERE indrelid = $1::text::regclass::oid AND indisunique AND NOT indimmediate \
     )";

/// Parameters: the quoted name.
const PRIVILEGES: &str = "SELECT privilege \
     FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege \
     WHERE NOT has_table_privilege($1::text::regclass::oid, privilege)";

impl PostgresStore {
    /// Makes the table as `sql/create.sql` has it, if it is not there.
    ///
    /// Any number of processes may do this at once, and a role that may not create tables may do it
    /// where the table is there. A table that is there stays as it is; [`check`](Self::check) says
    /// whether it fits.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], for example where the role may not create tables or the schema is
    /// missing.
    pub fn create_table(&self) -> Result<(), Error> {
        let create = CREATE.replace("\"session\"", &self.table.to_string());
        self.run(|connection| {
            if self.holds(connection, EXISTS)? {
                return Ok(());
            }
            // Sent as one, the two are one transaction.
            connection
                .client()
                .batch_execute(&format!("{LOCK}\n{create}"))
        })
    }

    /// Checks that the table is there, that its columns can hold sessions, that an index finds them,
    /// and that the role may read and write it. Nothing is changed.
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
        let problems = self.run(|connection| {
            let columns = self.ask(connection, COLUMNS)?;
            let columns = columns
                .iter()
                .map(Column::read)
                .collect::<Result<Vec<_>, _>>()?;
            let mut problems = column_problems(&columns);
            if !self.holds(connection, KEY_HAS_INDEX)? {
                let problem =
                    "no index begins with session_key, so each call reads the whole table";
                problems.push(problem.to_owned());
            }
            if self.holds(connection, HAS_DEFERRABLE)? {
                let problem =
                    "a unique constraint of it is DEFERRABLE, so no session can be inserted";
                problems.push(problem.to_owned());
            }
            for row in self.ask(connection, PRIVILEGES)? {
                let privilege: String = row.try_get(0)?;
                problems.push(format!(
                    "the role lacks {privilege} on it: see sql/grant.sql"
                ));
            }
            Ok(problems)
        })?;
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::UnfitTable {
                table: self.table.to_string(),
                problems,
            })
        }
    }

    /// Asks the catalog a question about the table that is answered by yes or no.
    fn holds(&self, connection: &mut Connection<'_>, sql: &str) -> Result<bool, postgres::Error> {
        self.ask(connection, sql)?
            .first()
            .map_or(Ok(false), |row| row.try_get(0))
    }

    /// Asks the catalog about the table.
    fn ask(&self, connection: &mut Connection<'_>, sql: &str) -> Result<Vec<Row>, postgres::Error> {
        connection
            .client()
            .query_typed(sql, &[(&self.table.to_string(), Type::TEXT)])
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
