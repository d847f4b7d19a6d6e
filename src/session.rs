//! What a session holds.

use std::fmt;

use crate::{Error, Period};

/// What [`Store::get`](crate::Store::get) finds: the value, and how long it has left.
///
/// `Debug` shows the value's length only: what a session holds is nobody's business in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// What was stored, to the byte.
    pub value: String,
    /// What is left of the session's life, as of the moment it was read or written: more than zero,
    /// but where an [`update`](crate::Store::update) has just ended the session. [`Period::MAX`] for
    /// one that never expires.
    pub period: Period,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("value", &format_args!("<{} bytes>", self.value.len()))
            .field("period", &self.period)
            .finish()
    }
}

/// The largest value that a session holds, in bytes: 256 MiB.
///
/// PostgreSQL takes up to 1 GiB a statement, and answers more than that by closing the connection.
pub const MAX_VALUE_BYTES: usize = 256 << 20;

/// Passes a value that every backend can hold.
pub(crate) fn check_value(value: &str) -> Result<&str, Error> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(Error::InvalidValue("it is longer than 256 MiB"));
    }
    if value.contains('\0') {
        return Err(Error::InvalidValue(
            "it holds a NUL character, which PostgreSQL's text cannot; encode it first",
        ));
    }
    Ok(value)
}
