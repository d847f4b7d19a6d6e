use super::{parse, reads, refuses};

#[test]
fn every_part_of_a_uri_is_optional() {
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
fn an_at_sign_in_a_password_is_an_error() {
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
fn a_delimiter_ends_only_the_parts_that_it_can() {
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
fn each_host_has_a_port() {
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
fn ssl_of_jdbc_becomes_an_sslmode() {
    reads(&[
        ("postgres://?ssl=true", &[("sslmode", "require")]),
        ("postgres://?ssl=false", &[("ssl", "false")]),
        ("ssl=true", &[("ssl", "true")]),
    ]);
}
