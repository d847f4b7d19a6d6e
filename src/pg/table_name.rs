//! The name of the sessions table.

use std::fmt;

use crate::Error;

/// The longest name in PostgreSQL. The server cuts a longer one without an error.
const MAX_NAME_BYTES: usize = 63;

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
