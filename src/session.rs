//! A session, and what can be written to one.

use std::fmt;

use crate::{Error, Period};

/// The value of a session, its remaining time and its age, returned by [`Store::get`](crate::Store::get).
///
/// `Debug` shows the length of the value, and not the value, so that it can be logged.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The stored value, unchanged.
    pub value: String,
    /// The time that was left when the value was read or written. [`Period::MAX`] if the session never expires.
    ///
    /// It is more than zero, unless this is the result of an [`update`](crate::Store::update) that made the session
    /// expire.
    pub period: Period,
    /// The time since the session was created. `None` if the table has no column for it.
    pub age: Option<Period>,
}

impl Session {
    /// Returns a session of unknown age, for other implementations of [`Store`](crate::Store).
    pub fn new(value: String, period: Period) -> Session {
        Session {
            value,
            period,
            age: None,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("value", &format_args!("<{} bytes>", self.value.len()))
            .field("period", &self.period)
            .field("age", &self.age)
            .finish()
    }
}

/// The fields of a new session, or the fields that a rotation changes. See [`Store::generate_with`](crate::Store::generate_with) and
/// [`Store::rotate_with`](crate::Store::rotate_with).
///
/// `Debug` shows the length of the value, and not the value.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionFields<'a> {
    /// The value. Without it, a new session is unset, and a rotated one keeps its value.
    pub value: Option<&'a str>,
    /// The time until the session expires. Without it, a new session gets the default period, and a rotated one keeps
    /// its expiry date.
    pub expiry: Option<Period>,
    /// The owner, for example the id of a user. Without it, a new session has no owner, and a rotated one keeps its
    /// owner.
    pub owner: Option<&'a str>,
}

impl<'a> SessionFields<'a> {
    /// Returns fields without an owner.
    pub const fn new(value: Option<&'a str>, expiry: Option<Period>) -> SessionFields<'a> {
        SessionFields {
            value,
            expiry,
            owner: None,
        }
    }
}

impl fmt::Debug for SessionFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.value.map(str::len);
        f.debug_struct("SessionFields")
            .field("value_bytes", &bytes)
            .field("expiry", &self.expiry)
            .field("owner", &self.owner)
            .finish()
    }
}

/// A session in the list of an owner, returned by [`Store::owned`](crate::Store::owned).
///
/// `Debug` shows the length of the value, and not the value.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedSession {
    /// Identifies the session, without being its key: see [`Key::handle`](crate::Key::handle). It may be shown on a
    /// page.
    pub handle: String,
    /// The stored value, or `None` if the session has none.
    pub value: Option<String>,
    /// The time that was left when the session was read.
    pub period: Period,
    /// The time since the session was created. `None` if the table has no column for it.
    pub age: Option<Period>,
}

impl OwnedSession {
    /// Returns a session of unknown age, for other implementations of [`Store`](crate::Store).
    pub fn new(handle: String, value: Option<String>, period: Period) -> OwnedSession {
        OwnedSession {
            handle,
            value,
            period,
            age: None,
        }
    }
}

/// Sorts the sessions of an owner. Those of unknown age come last.
pub(crate) fn newest_first(sessions: impl Iterator<Item = OwnedSession>) -> Vec<OwnedSession> {
    let mut sessions: Vec<_> = sessions.collect();
    sessions.sort_by_key(|session| (session.age.is_none(), session.age));
    sessions
}

impl fmt::Debug for OwnedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.value.as_ref().map(String::len);
        f.debug_struct("OwnedSession")
            .field("handle", &self.handle)
            .field("value_bytes", &bytes)
            .field("period", &self.period)
            .field("age", &self.age)
            .finish()
    }
}

/// The largest size of the name of an owner in bytes. An index entry of PostgreSQL has about 2,700.
pub(crate) const MAX_OWNER_BYTES: usize = 255;

/// Returns the name of an owner if every backend can store it.
pub(crate) fn check_owner(owner: &str) -> Result<&str, Error> {
    match owner {
        "" => Err(Error::InvalidOwner("it is empty")),
        _ if owner.len() > MAX_OWNER_BYTES => {
            Err(Error::InvalidOwner("it is longer than 255 bytes"))
        }
        _ if owner.contains('\0') => Err(Error::InvalidOwner("it contains a NUL character")),
        _ => Ok(owner),
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
