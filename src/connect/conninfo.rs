//! libpq's connection strings: `keyword=value` pairs, or a URI.

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// One `keyword=value`.
pub(super) struct Pair {
    pub(super) keyword: String,
    pub(super) value: String,
    /// Where it is, for an error.
    pub(super) position: String,
    /// Whether an error may repeat the keyword: it looks like one, and is no piece of a password that is not
    /// quoted or encoded as it should be.
    pub(super) can_be_named: bool,
}

impl Pair {
    fn is_password(&self) -> bool {
        self.keyword.contains("password")
    }
}

/// Reads a connection string as the `PQconninfoParse` of libpq 18 does.
///
/// The pairs are in the order of the text: of a keyword that comes twice, the last counts. Which
/// keywords there are is for the caller to know. The error says what is wrong and where, and repeats
/// nothing of the text but the scheme of a URI, because any other piece may be one of a password.
pub(super) fn parse(text: &str) -> Result<Vec<Pair>, String> {
    if let Some(at) = text.find('\0') {
        return Err(format!(
            "the connection string holds a NUL character {}",
            position(text, at)
        ));
    }
    match SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => parse_uri(text, rest),
        None => match other_scheme(text) {
            Some(scheme) => Err(format!(
                "it is a URI with the scheme `{scheme}://`: a URI of a PostgreSQL server begins with \
                 `postgresql://` or `postgres://`, in lower case"
            )),
            None => parse_keywords(text),
        },
    }
}

/// The scheme of a URI, if the text is one. JDBC puts another before it.
fn other_scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let plain = scheme.strip_prefix("jdbc:").unwrap_or(scheme);
    is_name(plain, "+.-").then_some(scheme)
}

/// Whether a text looks like a name of letters, digits and some other characters.
fn is_name(text: &str, others: &str) -> bool {
    let mut chars = text.chars();
    (1..=30).contains(&text.len()) && chars.all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// What C calls a space: more than `u8::is_ascii_whitespace` does.
pub(super) fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Where a byte is, for a person who counts characters from 1.
fn position(text: &str, at: usize) -> String {
    format!("at character {}", text[..at].chars().count() + 1)
}

/// Where the last part of a text begins.
fn position_of(rest: &str, text: &str) -> String {
    position(text, text.len() - rest.len())
}

fn parse_keywords(text: &str) -> Result<Vec<Pair>, String> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let end = rest.find(|c| c == '=' || is_blank(c)).unwrap_or(rest.len());
        let (keyword, after) = rest.split_at(end);
        let Some(after) = after.trim_start_matches(is_blank).strip_prefix('=') else {
            return Err(format!(
                "what begins {} of the connection string is no `keyword=value`: expected such pairs \
                 with blanks between them, a value that has blanks in single quotes, or a URI that \
                 begins with `postgresql://`",
                position_of(rest, text)
            ));
        };
        if keyword.is_empty() {
            return Err(format!(
                "there is no keyword before the `=` {} of the connection string: expected \
                 `keyword=value`",
                position_of(rest, text)
            ));
        }
        let after = after.trim_start_matches(is_blank);
        let (value, after) = match after.strip_prefix('\'') {
            Some(quoted) => quoted_value(quoted).ok_or_else(|| {
                format!(
                    "the quote that opens {} of the connection string is not closed: expected `'` \
                     at the end of the value, and `\\'` for a quote that is part of it",
                    position_of(after, text)
                )
            })?,
            None => plain_value(after),
        };
        pairs.push(Pair {
            keyword: keyword.to_owned(),
            value,
            position: position_of(rest, text),
            // A password with blanks and without quotes goes on here.
            can_be_named: is_name(keyword, "_.-") && !pairs.iter().any(Pair::is_password),
        });
        rest = after.trim_start_matches(is_blank);
    }
    Ok(pairs)
}

/// The value up to the closing quote, if there is one, and what comes behind it.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '\'' => return Some((value, rest.as_str())),
            '\\' => value.push(rest.next()?),
            c => value.push(c),
        }
    }
}

/// The value up to a blank that no backslash escapes, and what comes behind it.
fn plain_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => value.extend(rest.next()),
            c if is_blank(c) => break,
            c => value.push(c),
        }
    }
    (value, rest.as_str())
}

/// Reads what comes behind the scheme:
/// `[user[:password]@][host][:port][,…][/dbname][?keyword=value[&…]]`.
fn parse_uri(text: &str, rest: &str) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();
    // What is empty is left out, so that a default can take its place.
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

    // libpq would take what is before it for the password, and send the rest to the DNS.
    let (before_query, _) = split_before(rest, &['?']);
    if before_query.contains('@') {
        return Err(
            "the URI has an `@` too many: in a user's name or a password, `@` is written `%40`, and `/` \
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
            // Before an `@` a password may go on that has a `?` or `&`.
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

/// The IPv6 address up to its bracket, and what comes behind it.
fn bracketed(text: &str) -> Result<(&str, &str), &'static str> {
    let Some((address, after)) = text.split_once(']') else {
        return Err("expected `]` behind the IPv6 address whose `[` is");
    };
    if address.is_empty() {
        return Err("expected an IPv6 address in the brackets");
    }
    if !after.is_empty() && !after.starts_with([':', '/', '?', ',']) {
        return Err("expected `:`, `/`, `?`, `,` or the end behind the brackets");
    }
    Ok((address, after))
}

/// Reads `keyword=value` of a query.
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
        // What JDBC calls it.
        "ssl" if value == "true" => Ok(("sslmode".to_owned(), "require".to_owned())),
        _ => Ok((keyword, value)),
    }
}

/// Decodes what is percent-encoded. Spaces around it are dropped, as by libpq since version 18.
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

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::Pair;

    fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
        let pairs = super::parse(text)?.into_iter();
        Ok(pairs.map(|pair| (pair.keyword, pair.value)).collect())
    }

    /// Checks the pairs of each text.
    fn reads(cases: &[(&str, &[(&str, &str)])]) {
        for (text, expected) in cases {
            let expected = expected
                .iter()
                .map(|(keyword, value)| (keyword.to_string(), value.to_string()))
                .collect();
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    /// Checks what the error of each text says.
    fn refuses(cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn an_empty_text_gives_no_pairs() {
        reads(&[
            ("", &[]),
            (" \t\n\x0b\x0c\r ", &[]),
            ("postgres://", &[]),
            ("postgresql://", &[]),
            ("postgresql:///?", &[]),
        ]);
    }

    #[test]
    fn blanks_around_the_equals_sign_are_skipped() {
        reads(&[
            ("host=a", &[("host", "a")]),
            (
                " host = a\tport\n=\n5433 ",
                &[("host", "a"), ("port", "5433")],
            ),
            ("host\x0b=\x0ca", &[("host", "a")]),
        ]);
    }

    #[test]
    fn the_value_of_a_bare_equals_sign_is_the_next_word() {
        reads(&[
            ("host=", &[("host", "")]),
            ("host= port=1", &[("host", "port=1")]),
            ("host='' port=1", &[("host", ""), ("port", "1")]),
        ]);
    }

    #[test]
    fn a_keyword_that_comes_twice_is_there_twice() {
        reads(&[
            ("host=a host=b", &[("host", "a"), ("host", "b")]),
            (
                "postgres://a/?host=b&host=c",
                &[("host", "a"), ("host", "b"), ("host", "c")],
            ),
        ]);
    }

    #[test]
    fn keywords_are_returned_as_written() {
        reads(&[
            ("HOST=a nonsense=b", &[("HOST", "a"), ("nonsense", "b")]),
            ("postgres://?no%6esense=b", &[("nonsense", "b")]),
        ]);
    }

    #[test]
    fn blanks_in_quotes_are_of_the_value() {
        reads(&[
            ("password=' a  b '", &[("password", " a  b ")]),
            ("password='a=b'", &[("password", "a=b")]),
            ("password='ä €'", &[("password", "ä €")]),
        ]);
    }

    #[test]
    fn a_backslash_in_quotes_escapes_a_quote() {
        reads(&[
            (r"password='it\'s'", &[("password", "it's")]),
            (r"password='a\\'", &[("password", r"a\")]),
            (r"password='\a\ä'", &[("password", "aä")]),
        ]);
    }

    #[test]
    fn a_backslash_without_quotes_escapes_a_blank() {
        reads(&[
            (r"password=a\ b", &[("password", "a b")]),
            (r"password=a\\b", &[("password", r"a\b")]),
            (r"password=a\", &[("password", "a")]),
            (r"password=\'a", &[("password", "'a")]),
        ]);
    }

    #[test]
    fn a_quote_counts_at_the_start_of_a_value_only() {
        reads(&[
            ("password=a'b", &[("password", "a'b")]),
            ("password=a'", &[("password", "a'")]),
        ]);
    }

    #[test]
    fn a_pair_may_follow_a_closing_quote_at_once() {
        reads(&[("host='a'port=1", &[("host", "a"), ("port", "1")])]);
    }

    #[test]
    fn a_word_without_equals_sign_is_refused_by_its_place() {
        refuses(&[
            ("host", "at character 1 "),
            ("password=my secret", "at character 13 "),
            ("ü=ä host port=1", "at character 5 "),
        ]);
    }

    #[test]
    fn another_scheme_is_named() {
        refuses(&[
            ("http://localhost", "the scheme `http://`"),
            ("mysql://u:p@h/d?ssl=true", "the scheme `mysql://`"),
            ("redis://:p@h:6379/0", "begins with `postgresql://`"),
            (
                "POSTGRES://a=b",
                "the scheme `POSTGRES://`: a URI of a PostgreSQL server",
            ),
            (
                "postgresql+psycopg2://h",
                "the scheme `postgresql+psycopg2://`",
            ),
            (
                "jdbc:postgresql://h/d?user=u",
                "the scheme `jdbc:postgresql://`",
            ),
        ]);
        // These are pairs, or nothing.
        reads(&[("password=x://y", &[("password", "x://y")])]);
        refuses(&[
            ("u:p://h", "no `keyword=value`"),
            ("://h", "no `keyword=value`"),
        ]);
    }

    #[test]
    fn a_keyword_can_be_named_unless_a_password_may_go_on_there() {
        for (text, named) in [
            (
                "postgres://u:p@h/d?sslmode=disable&schema=s",
                &["sslmode", "schema"] as &[&str],
            ),
            (
                "postgres://h?ssl_mode=x&no%6esense=b",
                &["ssl_mode", "nonsense"],
            ),
            ("postgres://u:p@ss?x=y@h", &[]),
            ("postgres://u:p/w?x=y&z=w@h/d", &[]),
            ("postgres://u:p/w?x=y@h/d", &[]),
            ("postgres://h/?a=b@c&d=e", &["d"]),
            (
                "postgres://h?schema=s&password=x&y=z",
                &["schema", "password"],
            ),
            ("postgres://h?sch%C3%A4ma=s&a+b=c&a%20b=c", &[]),
            (
                "postgres://h?a23456789012345678901234567890=x",
                &["a23456789012345678901234567890"],
            ),
            ("postgres://h?a234567890123456789012345678901=x", &[]),
            (
                "schema=s host=h password=x y=z",
                &["schema", "host", "password"],
            ),
            ("schema=s sslpassword=x 'y=z", &["schema", "sslpassword"]),
            ("a+b=c a@b=c ü=d", &[]),
        ] {
            let pairs = super::parse(text).expect(text).into_iter();
            let pairs = pairs.filter(|pair| pair.can_be_named && !pair.position.is_empty());
            let keywords: Vec<_> = pairs.map(|Pair { keyword, .. }| keyword).collect();
            assert_eq!(keywords, named, "{text}");
        }
    }

    #[test]
    fn an_equals_sign_without_keyword_is_refused() {
        refuses(&[
            ("=a", "no keyword before the `=` at character 1 "),
            ("host=a  =b", "no keyword before the `=` at character 9 "),
            ("postgres://?=a", "the query parameter at character 13 "),
            ("postgres://?a=b&=c", "the query parameter at character 17 "),
        ]);
    }

    #[test]
    fn an_open_quote_is_refused() {
        refuses(&[
            ("password='", "quote that opens at character 10 "),
            ("password= 'a", "quote that opens at character 11 "),
            (r"password='a\'", "quote that opens at character 10 "),
            (r"password='a\", "quote that opens at character 10 "),
        ]);
    }

    #[test]
    fn a_nul_is_refused() {
        refuses(&[
            ("host=\0", "NUL character at character 6"),
            ("postgres://%00", "the host of the URI has a `%00`"),
            ("postgres://?host=%00", "`%00`"),
        ]);
    }

    #[test]
    fn a_uri_has_all_parts_or_any() {
        reads(&[
            (
                "postgresql://u:p@h:1/d?sslmode=disable&connect_timeout=2",
                &[
                    ("user", "u"),
                    ("password", "p"),
                    ("host", "h"),
                    ("port", "1"),
                    ("dbname", "d"),
                    ("sslmode", "disable"),
                    ("connect_timeout", "2"),
                ],
            ),
            ("postgres://h", &[("host", "h")]),
            ("postgres://:1", &[("port", "1")]),
            ("postgres:///d", &[("dbname", "d")]),
            ("postgres://u@", &[("user", "u")]),
            ("postgres://:p@", &[("password", "p")]),
            ("postgres://:@h:/", &[("host", "h")]),
            ("postgres://h?dbname=d", &[("host", "h"), ("dbname", "d")]),
            ("postgres://?port=1&", &[("port", "1")]),
            ("postgres://?host=", &[("host", "")]),
        ]);
    }

    #[test]
    fn an_at_sign_in_a_password_is_not_taken_for_its_end() {
        for uri in [
            "postgres://u:a@b@h",
            "postgres://u@@h",
            "postgres://u:a/b@h",
            "postgres://u:1/b@h/c",
        ] {
            let error = parse(uri).expect_err(uri);
            assert!(error.contains("%40") && error.contains("%2F"), "{error}");
        }
    }

    #[test]
    fn delimiters_of_a_uri_end_only_the_parts_they_can() {
        reads(&[
            (
                "postgres://h/a/b:c%40d",
                &[("host", "h"), ("dbname", "a/b:c@d")],
            ),
            (
                "postgres://u:a:b@h",
                &[("user", "u"), ("password", "a:b"), ("host", "h")],
            ),
            ("postgres://u?x@h", &[("user", "u?x"), ("host", "h")]),
            ("postgres://h:1:2", &[("host", "h"), ("port", "1:2")]),
            ("postgres://?host=a?b/c", &[("host", "a?b/c")]),
        ]);
    }

    #[test]
    fn several_hosts_come_with_as_many_ports() {
        reads(&[
            ("postgres://a,b", &[("host", "a,b"), ("port", ",")]),
            (
                "postgres://a:1,b,c:2/",
                &[("host", "a,b,c"), ("port", "1,,2")],
            ),
            ("postgres://a:1,:2", &[("host", "a,"), ("port", "1,2")]),
            ("postgres://,", &[("host", ","), ("port", ",")]),
        ]);
    }

    #[test]
    fn brackets_hold_an_ipv6_address() {
        reads(&[
            ("postgres://[::1]", &[("host", "::1")]),
            (
                "postgres://[::1]:1/d",
                &[("host", "::1"), ("port", "1"), ("dbname", "d")],
            ),
            ("postgres://[::1]?user=u", &[("host", "::1"), ("user", "u")]),
            (
                "postgres://u@[fe80::1%25eth0],b",
                &[("user", "u"), ("host", "fe80::1%eth0,b"), ("port", ",")],
            ),
        ]);
        refuses(&[
            ("postgres://[::1", "expected `]`"),
            ("postgres://[]", "expected an IPv6 address"),
            ("postgres://[::1]x", "behind the brackets at character 12"),
        ]);
    }

    #[test]
    fn any_part_of_a_uri_may_be_percent_encoded() {
        reads(&[
            (
                "postgres://%2Fvar%2frun/d%20b?us%65r=%C3%a4%26%3D",
                &[("host", "/var/run"), ("dbname", "d b"), ("user", "ä&=")],
            ),
            (
                "postgres://%75:p%40%3a@%68:%31",
                &[
                    ("user", "u"),
                    ("password", "p@:"),
                    ("host", "h"),
                    ("port", "1"),
                ],
            ),
            ("postgres://a%2Cb", &[("host", "a,b")]),
        ]);
        refuses(&[
            ("postgres://u%@h", "the user name of the URI has a `%`"),
            ("postgres://u:%4@h", "the password of the URI has a `%`"),
            ("postgres://u:%+f@h", "the password of the URI has a `%`"),
            ("postgres://:%zz", "the port of the URI has a `%`"),
            ("postgres:///%ä", "the database name of the URI has a `%`"),
            ("postgres://?%=a", "the query parameter at character 13 "),
            ("postgres://u:%ff@h", "the password of the URI is not UTF-8"),
        ]);
    }

    #[test]
    fn spaces_at_the_ends_of_a_part_are_dropped_and_inside_refused() {
        reads(&[(
            "postgres:// u : p @ h : 1 / d ? sslmode = disable & host = ",
            &[
                ("user", "u"),
                ("password", "p"),
                ("host", "h"),
                ("port", "1"),
                ("dbname", "d"),
                ("sslmode", "disable"),
                ("host", ""),
            ],
        )]);
        refuses(&[
            ("postgres://u:a b@h", "the password of the URI has a space"),
            ("postgres://a ,b", "the host of the URI has a space"),
        ]);
    }

    #[test]
    fn a_query_parameter_has_one_equals_sign() {
        refuses(&[
            ("postgres://?host", "at character 13 of the URI has no `=`"),
            ("postgres://?a=b&&", "at character 17 of the URI has no `=`"),
            (
                "postgres://?host=a=b",
                "at character 13 of the URI has a second `=`",
            ),
        ]);
    }

    #[test]
    fn what_jdbc_calls_tls_becomes_an_sslmode() {
        reads(&[
            ("postgres://?ssl=true", &[("sslmode", "require")]),
            ("postgres://?ssl=false", &[("ssl", "false")]),
            ("ssl=true", &[("ssl", "true")]),
        ]);
    }

    const SECRET: &str = "Tr0ub4dor+3";

    fn config() -> ProptestConfig {
        ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(2000)
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn no_text_panics_and_no_error_repeats_a_secret(
            pieces in vec(
                prop_oneof![
                    Just(SECRET.to_owned()),
                    "(host|user|password|ssl|%|%4|%ff|%00|\0|é|[ =&?:/@,'\\\\\\[\\]])",
                    any::<String>(),
                ],
                0..12,
            ),
            scheme in "|postgres://|postgresql://",
        ) {
            if let Err(error) = parse(&format!("{scheme}{}", pieces.concat())) {
                prop_assert!(!error.contains(SECRET), "{}", error);
            }
        }

        #[test]
        fn pairs_that_are_quoted_parse_back_to_themselves(
            pairs in vec(("[a-z_]{1,9}", "[^\0]*"), 0..6)
        ) {
            let text: Vec<_> = pairs
                .iter()
                .map(|(keyword, value)| {
                    let value = value.replace('\\', r"\\").replace('\'', r"\'");
                    format!("{keyword} = '{value}'")
                })
                .collect();
            prop_assert_eq!(parse(&text.join(" ")), Ok(pairs));
        }

        #[test]
        fn parts_that_are_percent_encoded_parse_back_to_themselves(
            parts in vec("[^\0]+", 5..=5)
        ) {
            let encoded: Vec<String> = parts
                .iter()
                .map(|part| part.bytes().map(|byte| format!("%{byte:02x}")).collect())
                .collect();
            let [user, password, host, dbname, options] = encoded.as_slice() else {
                return Err(TestCaseError::fail("there are five"));
            };
            let text = format!("postgres://{user}:{password}@{host}/{dbname}?options={options}");
            let keywords = ["user", "password", "host", "dbname", "options"];
            let expected = keywords.map(str::to_owned).into_iter().zip(parts).collect();
            prop_assert_eq!(parse(&text), Ok(expected));
        }
    }
}
