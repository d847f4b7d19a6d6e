//! Tests of the parsers, and of what both have in common.

mod key_value;
mod uri;

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
fn a_keyword_that_occurs_twice_is_returned_twice() {
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
    // These are not URIs.
    reads(&[("password=x://y", &[("password", "x://y")])]);
    refuses(&[
        ("u:p://h", "expected `keyword=value`"),
        ("://h", "expected `keyword=value`"),
    ]);
}

#[test]
fn a_keyword_can_be_named_unless_it_may_be_part_of_a_password() {
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
fn a_nul_is_refused() {
    refuses(&[
        ("host=\0", "NUL character at character 6"),
        ("postgres://%00", "the host of the URI has a `%00`"),
        ("postgres://?host=%00", "`%00`"),
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
