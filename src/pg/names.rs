//! The names of the sessions table and its columns.

use std::fmt;

use crate::Error;

/// The longest name in PostgreSQL. The server cuts a longer one without an error.
const MAX_NAME_BYTES: usize = 63;

/// The names of the columns of a sessions table, for
/// [`PostgresStoreBuilder::columns`](crate::PostgresStoreBuilder::columns).
///
/// The default names are those of the recommended table, which are also those of OCaml's session-postgresql.
///
/// # Examples
///
/// ```
/// use session_postgres::{Columns, PostgresStore, ValueType};
///
/// // The table of connect-pg-simple, a session store for Node.js, if `expire` is a `timestamptz`.
/// let columns = Columns { key: "sid", expiry: "expire", value: "sess", ..Columns::default() };
/// let builder = PostgresStore::builder().columns(columns)?.value_type(ValueType::Json);
/// # Ok::<(), session_postgres::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns<'a> {
    /// The key. The default is `session_key`, or `session_key_hash` with
    /// [`hash_keys`](crate::PostgresStoreBuilder::hash_keys).
    pub key: &'a str,
    /// The expiry date. The default is `expire_date`.
    pub expiry: &'a str,
    /// The value. The default is `session_data`.
    pub value: &'a str,
    /// The time when the session was created. The default is `created_at`. The table needs it only for
    /// [`max_age`](crate::PostgresStoreBuilder::max_age) and [`Session::age`](crate::Session::age).
    pub created_at: &'a str,
    /// The owner. The default is `owner`. The table needs it only for owners.
    pub owner: &'a str,
}

impl Default for Columns<'_> {
    fn default() -> Self {
        Columns {
            key: PLAIN_KEY,
            expiry: "expire_date",
            value: "session_data",
            created_at: "created_at",
            owner: "owner",
        }
    }
}

/// The default name of the key's column.
pub(super) const PLAIN_KEY: &str = "session_key";

/// The default name of the key's column in a table of hashed keys. It is another one, so that a store whose setting
/// does not match the table fails, and does not just find no session.
pub(super) const HASHED_KEY: &str = "session_key_hash";

/// The type of the values' column, for [`PostgresStoreBuilder::value_type`](crate::PostgresStoreBuilder::value_type).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValueType {
    /// `text`, or `varchar` without a length.
    #[default]
    Text,
    /// `json`. A value must be JSON, and is stored unchanged.
    Json,
    /// `jsonb`. A value must be JSON, and is stored as PostgreSQL normalizes it: with other whitespace, with another
    /// order of keys, without duplicate keys, and with numbers written in another way. It rejects `\u0000`.
    Jsonb,
}

impl ValueType {
    /// The cast of a parameter to the type.
    pub(super) fn cast(self) -> &'static str {
        match self {
            ValueType::Text => "",
            ValueType::Json => "::json",
            ValueType::Jsonb => "::jsonb",
        }
    }

    /// The expression that reads a value as a text.
    pub(super) fn read(self) -> &'static str {
        match self {
            ValueType::Text => "session.{value}",
            ValueType::Json | ValueType::Jsonb => "session.{value}::text",
        }
    }

    /// The name of the type.
    pub(super) fn name(self) -> &'static str {
        match self {
            ValueType::Text => "text",
            ValueType::Json => "json",
            ValueType::Jsonb => "jsonb",
        }
    }
}

/// The names of the table and its columns. The methods fill in the placeholders of SQL.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) table: TableName,
    pub(super) columns: ColumnNames,
}

#[derive(Debug, Clone)]
pub(super) struct ColumnNames {
    key: Identifier,
    expiry: Identifier,
    value: Identifier,
    created: Identifier,
    owner: Identifier,
}

impl Default for Names {
    fn default() -> Names {
        let default = |name: &str| Identifier(name.to_owned());
        let columns = Columns::default();
        Names {
            table: TableName::session(),
            columns: ColumnNames {
                key: default(columns.key),
                expiry: default(columns.expiry),
                value: default(columns.value),
                created: default(columns.created_at),
                owner: default(columns.owner),
            },
        }
    }
}

impl ColumnNames {
    pub(super) fn parse(columns: Columns<'_>) -> Result<ColumnNames, Error> {
        let parse = |name| Identifier::parse("column", name);
        Ok(ColumnNames {
            key: parse(columns.key)?,
            expiry: parse(columns.expiry)?,
            value: parse(columns.value)?,
            created: parse(columns.created_at)?,
            owner: parse(columns.owner)?,
        })
    }

    /// Names the column of the key for a table of hashed keys, unless it has another name than the default.
    pub(super) fn hash_keys(&mut self) {
        if self.key.0 == PLAIN_KEY {
            HASHED_KEY.clone_into(&mut self.key.0);
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key.0
    }

    pub(super) fn expiry(&self) -> &str {
        &self.expiry.0
    }

    pub(super) fn value(&self) -> &str {
        &self.value.0
    }

    pub(super) fn created(&self) -> &str {
        &self.created.0
    }

    pub(super) fn owner(&self) -> &str {
        &self.owner.0
    }
}

impl Names {
    /// Returns SQL with the quoted names in the places of `{table}`, `{key}` and so on.
    ///
    /// A name may contain the text of a placeholder, so each place is filled once.
    pub(super) fn fill(&self, sql: &str) -> String {
        let mut filled = String::with_capacity(sql.len());
        let mut rest = sql;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let columns = &self.columns;
            filled.push_str(&match name {
                "table" => self.table.to_string(),
                "key" => columns.key.to_string(),
                "expiry" => columns.expiry.to_string(),
                "value" => columns.value.to_string(),
                "created" => columns.created.to_string(),
                "owner" => columns.owner.to_string(),
                other => unreachable!("no SQL of this crate has the placeholder {other}"),
            });
            rest = after;
        }
        filled.push_str(rest);
        filled
    }
}

/// The name of the sessions table. `Display` shows it quoted, for SQL.
#[derive(Debug, Clone)]
pub(super) struct TableName {
    schema: Option<Identifier>,
    name: Identifier,
}

impl TableName {
    /// The table of OCaml's session-postgresql, found by the connection's `search_path`.
    pub(super) fn session() -> TableName {
        TableName {
            schema: None,
            name: Identifier("session".to_owned()),
        }
    }

    pub(super) fn set_schema(&mut self, name: &str) -> Result<(), Error> {
        self.schema = Some(Identifier::parse("schema", name)?);
        Ok(())
    }

    pub(super) fn set_name(&mut self, name: &str) -> Result<(), Error> {
        self.name = Identifier::parse("table", name)?;
        Ok(())
    }

    /// The partition with this number. Its name ends with the number, so that names that are cut differ, too.
    pub(super) fn partition(&self, number: u32) -> TableName {
        let suffix = format!("_p{number}");
        let name = &self.name.0;
        let mut end = name.len().min(MAX_NAME_BYTES - suffix.len());
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        TableName {
            schema: self.schema.clone(),
            name: Identifier(format!("{}{suffix}", &name[..end])),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        self.name.fmt(f)
    }
}

/// A name that PostgreSQL accepts. `Display` shows it quoted.
#[derive(Debug, Clone)]
struct Identifier(String);

impl Identifier {
    fn parse(what: &str, name: &str) -> Result<Identifier, Error> {
        let fault = if name.is_empty() {
            "is empty"
        } else if name.len() > MAX_NAME_BYTES {
            "is longer than PostgreSQL's 63 bytes"
        } else if name.contains('\0') {
            "contains a NUL character"
        } else {
            return Ok(Identifier(name.to_owned()));
        };
        Err(Error::InvalidOption(format!(
            "the {what} name {name:?} {fault}"
        )))
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}
