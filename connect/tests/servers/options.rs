//! The sources of options, and the errors of invalid values.

use std::net::TcpListener;

use postgres_connect::{ConnectOptions, SslMode, connect, postgres::Client};

use crate::support::{child, options, port, server};

/// A port on which no program listens.
const UNUSED: u16 = 1;

fn ask(client: &mut Client, sql: &str) -> String {
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn without_options_the_environment_counts() {
    const NAME: &str = "options::without_options_the_environment_counts";
    if child::is_for(NAME) {
        let mut client = connect("").unwrap();
        assert_eq!(ask(&mut client, "SHOW application_name"), "shop");
        assert_eq!(ask(&mut client, "SHOW work_mem"), "8765kB");
        // An option has precedence.
        let mut client = connect(ConnectOptions::new().application_name("own")).unwrap();
        assert_eq!(ask(&mut client, "SHOW application_name"), "own");
        return;
    }
    child::run_with(
        NAME,
        &[
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &port(server()).to_string()),
            ("PGUSER", "postgres"),
            ("PGDATABASE", "postgres"),
            ("PGAPPNAME", "shop"),
            ("PGOPTIONS", "-c work_mem=8765kB"),
        ],
    );
}

#[test]
fn every_argument_of_ocamls_connect_is_accepted() {
    let options = ConnectOptions::new()
        .host("somewhere")
        .hostaddr("127.0.0.1")
        .port(port(server()))
        .dbname("postgres")
        .user("postgres")
        .password("not needed")
        .options("-c work_mem=7654kB -c application_name=with\\ blank")
        .tty("/dev/tty")
        .requiressl("0")
        .startonly(false);
    let mut client = connect(options.clone()).unwrap();
    assert_eq!(ask(&mut client, "SHOW work_mem"), "7654kB");
    assert_eq!(ask(&mut client, "SHOW application_name"), "with blank");
    let error = connect(options.requiressl("1")).err().unwrap();
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[test]
fn no_text_shows_the_password() {
    let options = ConnectOptions::new()
        .host("127.0.0.1")
        .port(UNUSED)
        .password("SecretOfTheCrab")
        .set("sslpassword", "SecretOfTheCrab")
        .unwrap();
    let shown = format!("{options:?}");
    assert!(
        shown.contains("127.0.0.1") && shown.contains("password: .."),
        "{shown}"
    );
    assert!(!shown.contains("Secret"), "{shown}");
    let conninfo = "host=127.0.0.1 port=1 password=SecretOfTheCrab";
    let options = options.conninfo(conninfo).unwrap();
    let shown = format!("{options:?} {}", connect(options.clone()).err().unwrap());
    assert!(!shown.contains("Secret"), "{shown}");
    for mistyped in [
        "postgres://crab:SecretOfThe/Crab@db/app",
        "postgres://crab:Secret@OfTheCrab@127.0.0.1:1/app",
        "password=one SecretOfTheCrab=two",
        "password=one two SecretOfTheCrab",
        "host=db password=one SecretOfTheCrab=two",
        "host=db SecretOf:The/Crab=two",
        "postgres://crab:p@ss?SecretOfThe=Crab@db/app",
        "postgres://crab:p/ss?x=y&SecretOfThe=Crab@db/app",
        "postgres://db/app?password=one&SecretOfTheCrab=two",
        "mysql://crab:SecretOfTheCrab@db/app",
        "crab:SecretOfTheCrab://db/app",
    ] {
        let error = connect(mistyped).err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("Secret") && !text.contains("Crab"), "{text}");
    }
}

#[test]
fn an_unknown_parameter_is_named_with_what_to_use_instead() {
    let url = "postgresql://crab:SecretOfTheCrab@127.0.0.1:1/app?sslmode=disable&";
    let pairs = "host=127.0.0.1 port=1 ";
    for (unknown, expected) in [
        ("schema=Value", "search_path"),
        ("pgbouncer=Value", "prepares statements"),
        ("pool_size=Value", "of the pool"),
        ("ssl_mode=Value", "use `sslmode`"),
        ("sslMode=Value", "use `sslmode`"),
        ("ssl=Value", "use `sslmode`"),
        ("nonsense=Value", "in a URI"),
    ] {
        let name = unknown.split('=').next().unwrap();
        for text in [
            format!("{url}{unknown}"),
            format!("{url}{unknown}&connect_timeout=1"),
            format!("{pairs}{unknown}"),
            format!("{pairs}{unknown} password=SecretOfTheCrab"),
        ] {
            let error = connect(&text).err().unwrap();
            assert!(error.is_invalid_option(), "{error:?}");
            let shown = format!("{error} {error:?}");
            assert!(
                shown.contains(&format!("no keyword `{name}` at character ")),
                "{shown}"
            );
            assert!(shown.contains(expected), "{shown}");
            assert!(
                !shown.contains("Value") && !shown.contains("Secret"),
                "{shown}"
            );
        }
    }
    let error = ConnectOptions::new()
        .set("sslMode", "Value")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("use `sslmode`") && !error.contains("Value"),
        "{error}"
    );
}

#[test]
fn a_uri_with_another_scheme_is_an_error_that_names_the_scheme() {
    for scheme in ["mysql", "redis", "http", "Postgres", "jdbc:postgresql"] {
        let text = format!("{scheme}://crab:SecretOfTheCrab@127.0.0.1:1/app?ssl=true");
        let error = connect(&text).err().unwrap();
        assert!(error.is_invalid_option(), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains(&format!("`{scheme}://`")) && shown.contains("`postgresql://`"),
            "{shown}"
        );
        assert!(!shown.contains("Secret"), "{shown}");
    }
}

#[test]
fn without_a_feature_for_tls_a_mode_that_needs_it_is_an_error() {
    if cfg!(any(feature = "tls", feature = "rustls")) {
        return;
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let options = ConnectOptions::new()
            .host("127.0.0.1")
            .port(listener.local_addr().unwrap().port())
            .user("crab")
            .sslmode(mode);
        let options = options.set("sslrootcert", "/nowhere").unwrap();
        let error = connect(options).err().unwrap();
        assert!(error.is_invalid_option(), "{error:?}");
        for feature in ["`tls`", "`rustls`"] {
            assert!(error.to_string().contains(feature), "{error}");
        }
    }
    assert!(listener.accept().is_err(), "no connection is attempted");
    for mode in [SslMode::Disable, SslMode::Allow, SslMode::Prefer] {
        connect(options().sslmode(mode)).unwrap();
    }
}
