//! libpq's connection strings: `keyword=value` pairs ([`key_value`]), or a [`uri`].

mod key_value;
#[cfg(test)]
mod tests;
mod uri;

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// One keyword and its value.
pub(crate) struct Pair {
    pub(crate) keyword: String,
    pub(crate) value: String,
    /// The position in the string. Errors name it.
    pub(crate) position: String,
    /// Whether an error may quote the keyword: it looks like one, and it cannot be a part of a password that
    /// was not quoted or encoded.
    pub(crate) can_be_named: bool,
}

impl Pair {
    fn is_password(&self) -> bool {
        self.keyword.contains("password")
    }
}

/// Reads a connection string as the `PQconninfoParse` of libpq 18 does.
///
/// The pairs are in the order of the text. If a keyword occurs twice, the last one counts. The caller checks
/// whether the keywords exist. The error quotes nothing of the text except the scheme of a URI, because any
/// other part may belong to a password.
pub(crate) fn parse(text: &str) -> Result<Vec<Pair>, String> {
    if let Some(at) = text.find('\0') {
        return Err(format!(
            "the connection string contains a NUL character {}",
            position(text, at)
        ));
    }
    match SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => uri::parse(text, rest),
        None => match other_scheme(text) {
            Some(scheme) => Err(format!(
                "it is a URI with the scheme `{scheme}://`: a URI of a PostgreSQL server begins with \
                 `postgresql://` or `postgres://`, in lower case"
            )),
            None => key_value::parse(text),
        },
    }
}

/// The scheme of a URI with another scheme than PostgreSQL's. JDBC puts `jdbc:` before it.
fn other_scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let plain = scheme.strip_prefix("jdbc:").unwrap_or(scheme);
    is_name(plain, "+.-").then_some(scheme)
}

/// Whether a text consists of 1 to 30 letters, digits and the characters in `others`.
fn is_name(text: &str, others: &str) -> bool {
    let mut chars = text.chars();
    (1..=30).contains(&text.len()) && chars.all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// Whether C's `isspace` returns true, which includes a character more than `char::is_ascii_whitespace`.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// The position of a byte, in characters counted from 1.
fn position(text: &str, at: usize) -> String {
    format!("at character {}", text[..at].chars().count() + 1)
}

/// The position at which the last part of a text begins.
fn position_of(rest: &str, text: &str) -> String {
    position(text, text.len() - rest.len())
}
