//! A session and its value.

use std::fmt;

use crate::{Error, Period};

/// The value of a session and its remaining time, returned by [`Store::get`](crate::Store::get).
///
/// `Debug` shows the length of the value, and not the value, so that it can be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// The stored value, unchanged.
    pub value: String,
    /// The time that was left when the value was read or written. [`Period::MAX`] if the session never expires.
    ///
    /// It is more than zero, unless this is the result of an [`update`](crate::Store::update) that made the session
    /// expire.
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

/// The largest size of a value in bytes: 256 MiB.
///
/// PostgreSQL accepts messages of up to 1 GiB, and closes the connection if one is larger.
pub const MAX_VALUE_BYTES: usize = 256 << 20;

/// Returns the value if every backend can store it.
pub(crate) fn check_value(value: &str) -> Result<&str, Error> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(Error::InvalidValue("it is longer than 256 MiB"));
    }
    if value.contains('\0') {
        return Err(Error::InvalidValue(
            "it contains a NUL character, which PostgreSQL cannot store in a text: encode the value first",
        ));
    }
    Ok(value)
}
