//! The value of a session as JSON. All frameworks read the same rows.

use std::collections::HashMap;

use serde_json::Value;

/// The deepest nesting of an entry. serde_json can write deeper ones but cannot read them.
pub(crate) const MAX_DEPTH: usize = 126;

pub(crate) const NOT_AN_OBJECT: &str = "the value of the session is not a JSON object";

/// The entries of a session.
pub(crate) type Data = HashMap<String, Value>;

/// Reads the value of a session.
pub(crate) fn decode(value: &str) -> serde_json::Result<Data> {
    serde_json::from_str(value)
}

/// Describes an error without the text of serde_json, which may quote the value.
pub(crate) fn describe(what: &str, error: &serde_json::Error) -> String {
    format!("{what}: line {}, column {}", error.line(), error.column())
}
