//! The session key.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng, rngs::SysRng};
use sha2::{Digest, Sha256};

use crate::{Error, shard_map::Slots};

/// The random bytes of a generated key: 240 bits, 40 characters of base64.
const RANDOM_BYTES: usize = 30;

/// The size of a handle: 128 bits, 32 hexadecimal digits.
const HANDLE_BYTES: usize = 16;

/// What is hashed together with the hash of a key to make its handle.
const HANDLE_SUFFIX: &str = " handle";

/// The key of a session. It is a bearer secret: a client that presents it owns the session.
///
/// A generated key consists of 30 random bytes from the operating system in URL-safe base64: 40 characters that
/// need no escaping in a cookie, a header or a URL.
///
/// A key that a client sends is parsed with [`str::parse`]. A key is 1 to 255 visible ASCII characters. This includes
/// the keys of other services that share the table. Any other text fails to parse with [`InvalidKey`], before any
/// query is sent. The column of the recommended table holds keys of up to 40 characters.
///
/// `Debug` does not show the key. [`as_str`](Key::as_str) and `Display` do, so that it can be sent in a cookie.
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
    /// The largest number of characters in a key: 255.
    pub const MAX_LEN: usize = 255;

    /// The length of a generated or hashed key: 40 characters, as in the column type `char(40)`.
    pub(crate) const LEN: usize = RANDOM_BYTES / 3 * 4;

    /// Returns a new random key.
    ///
    /// The random bytes come from the operating system for each key. The process keeps no state that a fork could
    /// duplicate.
    ///
    /// # Errors
    ///
    /// [`Error::Randomness`] if the operating system provides no random bytes.
    pub fn generate() -> Result<Key, Error> {
        Key::generate_in(&Slots::default())
    }

    /// Returns a new random key in one of these slots.
    pub(crate) fn generate_in(slots: &Slots) -> Result<Key, Error> {
        let mut random = [0; RANDOM_BYTES + 4];
        SysRng
            .try_fill_bytes(&mut random)
            .map_err(|e| Error::Randomness(e.to_string()))?;
        let [mut bytes @ .., a, b, c, d] = random;
        let [high, low] = slots.pick(u32::from_be_bytes([a, b, c, d])).to_be_bytes();
        // The first two characters have 12 bits.
        bytes[0] = high << 4 | low >> 4;
        bytes[1] = low << 4 | bytes[1] & 15;
        Ok(Key(URL_SAFE_NO_PAD.encode(bytes).into()))
    }

    /// Returns the handle of the session with this key. It can be shown on a page, because the key cannot be computed
    /// from it.
    ///
    /// A rotation changes the key and with it the handle. [`OwnedSession::handle`](crate::OwnedSession::handle) is the handle of a session in a list. The one that equals
    /// this one is the session of the visitor who reads the list.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_postgres::{Key, MemoryStore, SessionFields, Store};
    ///
    /// let store = MemoryStore::new();
    /// let owner = SessionFields { owner: Some("user 42"), ..SessionFields::default() };
    /// let key = store.generate_with(owner)?;
    /// assert_eq!(store.owned("user 42")?[0].handle, key.handle());
    /// # Ok::<(), session_postgres::Error>(())
    /// ```
    pub fn handle(&self) -> String {
        // Two hashes, so that the handle also follows from a stored hash of the key.
        let hash = Sha256::new()
            .chain_update(self.hashed().as_str())
            .chain_update(HANDLE_SUFFIX)
            .finalize();
        hash[..HANDLE_BYTES]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Whether a session can have this handle. PostgreSQL rejects some other texts.
    pub(crate) fn is_handle(text: &str) -> bool {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.len() == 2 * HANDLE_BYTES && text.bytes().all(is_digit)
    }

    /// Returns the first eight bytes as a number. Such numbers have the order of their keys.
    pub(crate) fn beginning(&self) -> u64 {
        let mut bytes = [0; 8];
        let length = self.0.len().min(8);
        bytes[..length].copy_from_slice(&self.0.as_bytes()[..length]);
        u64::from_be_bytes(bytes)
    }

    /// Returns the hash of the key that a table of hashed keys contains: 240 bits of SHA-256, in the alphabet of keys.
    pub(crate) fn hashed(&self) -> Key {
        let hash = Sha256::digest(self.as_str());
        Key(URL_SAFE_NO_PAD.encode(&hash[..RANDOM_BYTES]).into())
    }

    /// Returns the text of the key. It is a secret: send it to the client only, and do not log it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Writes the text of the key. It is a secret: do not log it.
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

/// The reason why a text is not a [`Key`]. It does not contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The text is empty.
    #[error("a session key cannot be empty")]
    Empty,
    /// The text has more than [`Key::MAX_LEN`] bytes. The field is its length in bytes.
    #[error("a session key has at most 255 characters, and this text has {0} bytes")]
    TooLong(usize),
    /// The byte at this position, counted from 0, is not a visible ASCII character.
    #[error(
        "a session key consists of visible ASCII characters, and byte {0} of this text is not one"
    )]
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
