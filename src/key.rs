//! The session key.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng, rngs::SysRng};

use crate::Error;

/// How many bytes of randomness a generated key holds: 240 bits, 40 characters of base64.
const RANDOM_BYTES: usize = 30;

/// The name of a session: a bearer secret, for whoever shows it is logged in.
///
/// A generated key is 30 bytes of the operating system's randomness in URL-safe base64, which makes
/// 40 characters that need no escaping in a cookie, a header or a URL. A key that somebody sends is
/// parsed, and parsing takes 1 to 40 visible ASCII characters, so that keys of another service that
/// shares the table work too, and a forged cookie that no store could have made costs no query.
///
/// `Debug` never shows it. [`Key::as_str`] and `Display` do: they are for the cookie.
///
/// # Examples
///
/// ```
/// use session_postgres::Key;
///
/// let key = Key::generate()?;
/// assert_eq!(key.as_str().len(), 40);
/// assert_eq!(format!("{key:?}"), "Key(..)");
///
/// let sent: Key = key.to_string().parse()?;
/// assert_eq!(sent, key);
/// assert!("two words".parse::<Key>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<str>);

impl Key {
    /// The most characters a key has: what the table's `char(40)` holds.
    pub const MAX_LEN: usize = 40;

    /// Makes a key that nobody can guess.
    ///
    /// Any number of threads may call it at once: the randomness comes from the operating system,
    /// and no state of this process, forked or not, takes part.
    ///
    /// # Errors
    ///
    /// [`Error::Randomness`] where the operating system gives none; nothing weaker is used instead.
    pub fn generate() -> Result<Key, Error> {
        let mut bytes = [0; RANDOM_BYTES];
        SysRng
            .try_fill_bytes(&mut bytes)
            .map_err(|e| Error::Randomness(e.to_string()))?;
        Ok(Key(URL_SAFE_NO_PAD.encode(bytes).into()))
    }

    /// The key itself, for the cookie.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Writes the key itself: for the cookie, not for a log.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0.into()
    }
}

/// Why a text is no key. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// It has no characters.
    #[error("a session key cannot be empty")]
    Empty,
    /// It has more than [`Key::MAX_LEN`] bytes; this many.
    #[error("a session key has at most 40 characters, this one has {0} bytes")]
    TooLong(usize),
    /// The byte at this place, counted from 0, is not a visible ASCII character.
    #[error("a session key is visible ASCII without blanks, byte {0} is not")]
    InvalidByte(usize),
}

fn parse(text: &str) -> Result<(), InvalidKey> {
    if text.is_empty() {
        return Err(InvalidKey::Empty);
    }
    if text.len() > Key::MAX_LEN {
        return Err(InvalidKey::TooLong(text.len()));
    }
    match text.bytes().position(|b| !b.is_ascii_graphic()) {
        Some(at) => Err(InvalidKey::InvalidByte(at)),
        None => Ok(()),
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Key, InvalidKey> {
        Key::try_from(text)
    }
}

impl TryFrom<&str> for Key {
    type Error = InvalidKey;

    fn try_from(text: &str) -> Result<Key, InvalidKey> {
        parse(text).map(|()| Key(text.into()))
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Key, InvalidKey> {
        parse(&text).map(|()| Key(text.into()))
    }
}
