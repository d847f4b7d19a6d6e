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
    // These are not URIs.
    reads(&[("password=x://y", &[("password", "x://y")])]);
    refuses(&[
        ("u:p://h", "expected `keyword=value`"),
        ("://h", "expected `keyword=value`"),
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
