//! The sessions table's name.

use std::fmt;

use crate::Error;

/// What PostgreSQL keeps of a name; it would cut a longer one silently.
const MAX_NAME_BYTES: usize = 63;

/// The table's name; displayed as SQL takes it, quoted.
#[derive(Debug, Clone)]
pub(super) struct Table {
    schema: Option<Name>,
    name: Name,
}

impl Table {
    /// The original's table, wherever the connection's search path finds it.
    pub(super) fn session() -> Table {
        Table {
            schema: None,
            name: Name("session".to_owned()),
        }
    }

    pub(super) fn set_schema(&mut self, name: &str) -> Result<(), Error> {
        self.schema = Some(Name::parse("schema", name)?);
        Ok(())
    }

    pub(super) fn set_name(&mut self, name: &str) -> Result<(), Error> {
        self.name = Name::parse("table", name)?;
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        self.name.fmt(f)
    }
}

/// A name that PostgreSQL keeps as it is; displayed quoted.
#[derive(Debug, Clone)]
struct Name(String);

impl Name {
    fn parse(what: &str, name: &str) -> Result<Name, Error> {
        let fault = if name.is_empty() {
            "is empty"
        } else if name.len() > MAX_NAME_BYTES {
            "is longer than PostgreSQL's 63 bytes"
        } else if name.contains('\0') {
            "holds a NUL character"
        } else {
            return Ok(Name(name.to_owned()));
        };
        Err(Error::InvalidOption(format!(
            "the {what} name {name:?} {fault}"
        )))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}
