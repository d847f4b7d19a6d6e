//! Connection strings in the form of a URI.

use super::{Pair, is_name, position_of};

/// Parses the part of a URI behind its scheme:
/// `[user[:password]@][host][:port][,…][/dbname][?keyword=value[&…]]`.
pub(super) fn parse(text: &str, rest: &str) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();
    // An empty part is left out, so that the default is used.
    let mut put = |keyword: &str, encoded: &str, what: &str| {
        if !encoded.is_empty() {
            pairs.push(Pair {
                keyword: keyword.to_owned(),
                value: decode(encoded, what)?,
                position: String::new(),
                can_be_named: true,
            });
        }
        Ok::<(), String>(())
    };

    let mut rest = rest;
    let (credentials, after) = split_before(rest, &['@', '/']);
    if let Some(after) = after.strip_prefix('@') {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        put("user", user, "the user name")?;
        put("password", password, "the password")?;
        rest = after;
    }

    // libpq takes the text before the `@` for the password, and looks up the rest, with a part of the real
    // password, in the DNS.
    let (before_query, _) = split_before(rest, &['?']);
    if before_query.contains('@') {
        return Err(
            "the URI has one `@` too many: in a user name or a password, `@` is written `%40`, and `/` \
             `%2F`"
                .to_owned(),
        );
    }
    let (mut hosts, mut ports) = (String::new(), String::new());
    loop {
        let (host, after) = match rest.strip_prefix('[') {
            Some(inner) => bracketed(inner)
                .map_err(|problem| format!("{problem} {} of the URI", position_of(rest, text)))?,
            None => split_before(rest, &[':', '/', '?', ',']),
        };
        hosts += host;
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            let (port, after) = split_before(after, &['/', '?', ',']);
            ports += port;
            rest = after;
        }
        let Some(after) = rest.strip_prefix(',') else {
            break;
        };
        hosts.push(',');
        ports.push(',');
        rest = after;
    }
    put("host", &hosts, "the host")?;
    put("port", &ports, "the port")?;

    if let Some(after) = rest.strip_prefix('/') {
        let (dbname, after) = split_before(after, &['?']);
        put("dbname", dbname, "the database name")?;
        rest = after;
    }

    rest = rest.strip_prefix('?').unwrap_or(rest);
    let query = pairs.len();
    while !rest.is_empty() {
        let (parameter, after) = rest.split_once('&').unwrap_or((rest, ""));
        let position = position_of(rest, text);
        let what = format!("the query parameter {position}");
        let (keyword, value) = parse_parameter(parameter, &what)?;
        pairs.push(Pair {
            // If an `@` follows, this may be a part of a password that contains `?` or `&`.
            can_be_named: is_name(&keyword, "_.-")
                && !rest.contains('@')
                && !pairs[query..].iter().any(Pair::is_password),
            keyword,
            value,
            position,
        });
        rest = after;
    }
    Ok(pairs)
}

/// Splits a text before the first of these characters.
fn split_before<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// Splits a text at the `]` behind an IPv6 address: the address, and the rest.
fn bracketed(text: &str) -> Result<(&str, &str), &'static str> {
    let Some((address, after)) = text.split_once(']') else {
        return Err("expected `]` behind the IPv6 address that begins with `[`");
    };
    if address.is_empty() {
        return Err("expected an IPv6 address in the brackets");
    }
    if !after.is_empty() && !after.starts_with([':', '/', '?', ',']) {
        return Err("expected `:`, `/`, `?`, `,` or the end behind the brackets");
    }
    Ok((address, after))
}

/// Parses one `keyword=value` of the query.
fn parse_parameter(text: &str, what: &str) -> Result<(String, String), String> {
    let Some((keyword, value)) = text.split_once('=') else {
        return Err(format!(
            "{what} of the URI has no `=`: expected `keyword=value`, and `&` between parameters"
        ));
    };
    if value.contains('=') {
        return Err(format!(
            "{what} of the URI has a second `=`: in a value it is written `%3D`"
        ));
    }
    let keyword = decode(keyword, what)?;
    let value = decode(value, what)?;
    match keyword.as_str() {
        "" => Err(format!(
            "{what} of the URI has no keyword: expected `keyword=value`"
        )),
        // JDBC's name.
        "ssl" if value == "true" => Ok(("sslmode".to_owned(), "require".to_owned())),
        _ => Ok((keyword, value)),
    }
}

/// Decodes percent-encoding. Drops spaces at both ends, as libpq does since version 18.
fn decode(text: &str, what: &str) -> Result<String, String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.trim_matches(' ').bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b' ' => {
                return Err(format!(
                    "{what} of the URI has a space: it is written `%20`"
                ));
            }
            b'%' => match (hex_digit(bytes.next()), hex_digit(bytes.next())) {
                (Some(0), Some(0)) => {
                    return Err(format!("{what} of the URI has a `%00`: no NUL is allowed"));
                }
                (Some(high), Some(low)) => high << 4 | low,
                _ => {
                    return Err(format!(
                        "{what} of the URI has a `%` without two hexadecimal digits behind it: a \
                         percent sign is written `%25`"
                    ));
                }
            },
            byte => byte,
        });
    }
    String::from_utf8(decoded)
        .map_err(|_| format!("{what} of the URI is not UTF-8 once its percent-encoding is undone"))
}

fn hex_digit(byte: Option<u8>) -> Option<u8> {
    let digit = char::from(byte?).to_digit(16)?;
    u8::try_from(digit).ok()
}
