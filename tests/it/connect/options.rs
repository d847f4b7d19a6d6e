//! Options, and where those come from that nobody gave.

use std::{fs, sync::Barrier, thread, time::Duration};

use session_postgres::{
    ConnectOptions, Error, Key, PostgresStore, SslMode, Store, postgres::Client,
};
use throwaway_postgres::Server;

use super::through;
use crate::support::{
    PATIENCE, child,
    database::{Schema, url},
    line::Line,
    wait_until,
};

/// A port that nothing listens at.
const NOBODYS: u16 = 1;

fn refused(options: ConnectOptions) -> String {
    let error = PostgresStore::connect(options).unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    error.to_string()
}

/// What the server says of a connection.
fn ask(store: &PostgresStore, sql: &str) -> String {
    let answer = store.with_client(|client| client.query_one(sql, &[]).map(|row| row.get(0)));
    answer.unwrap().unwrap()
}

#[test]
fn without_options_the_environment_says_where() {
    const NAME: &str = "connect::options::without_options_the_environment_says_where";
    if child::is_for(NAME) {
        let store = PostgresStore::connect("").unwrap();
        assert_eq!(ask(&store, "SHOW application_name"), "shop");
        assert_eq!(ask(&store, "SHOW work_mem"), "8765kB");
        // What is given counts more.
        let options = ConnectOptions::new().application_name("own");
        let store = PostgresStore::connect(options).unwrap();
        assert_eq!(ask(&store, "SHOW application_name"), "own");
        return;
    }
    let config = Schema::new().config();
    let line = Line::to(&config);
    child::run_with(
        NAME,
        &[
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &line.port().to_string()),
            ("PGUSER", config.get_user().unwrap()),
            ("PGDATABASE", config.get_dbname().unwrap()),
            ("PGAPPNAME", "shop"),
            ("PGOPTIONS", "-c work_mem=8765kB"),
        ],
    );
}

#[test]
fn an_address_is_dialled_and_not_the_name() {
    let schema = Schema::new();
    let line = Line::to(&schema.config());
    for (name, accepted) in [("nowhere.invalid", 1), ("unix://nowhere/.s.PGSQL.5432", 2)] {
        let options = through(&line, &schema).host(name).hostaddr("127.0.0.1");
        PostgresStore::connect(options).unwrap();
        assert_eq!(line.accepted(), accepted);
    }
}

#[test]
fn hosts_are_tried_in_turn_and_each_is_named_if_none_will_do() {
    let schema = Schema::new();
    let line = Line::to(&schema.config());
    let options = through(&line, &schema)
        .host("nowhere.invalid,127.0.0.1,127.0.0.1")
        .port(format!("5432,{NOBODYS},{}", line.port()));
    PostgresStore::connect(options.clone()).unwrap();
    let options = options
        .host("nowhere.invalid,127.0.0.1")
        .port(format!("5432,{NOBODYS}"));
    let error = refused(options);
    for part in [
        "as user \"postgres\"",
        "at nowhere.invalid:5432: the name of the host leads nowhere",
        "at 127.0.0.1:1: error connecting to server",
        "nothing listens there",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn hosts_take_turns_by_chance_if_asked_to() {
    let schema = Schema::new();
    let lines = [Line::to(&schema.config()), Line::to(&schema.config())];
    let options = through(&lines[0], &schema)
        .host("127.0.0.1,127.0.0.1")
        .port(format!("{},{}", lines[0].port(), lines[1].port()));
    PostgresStore::connect(options.clone()).unwrap();
    assert_eq!(lines[0].accepted(), 1);
    let options = options.set("load_balance_hosts", "random").unwrap();
    wait_until("both have had their turn", || {
        PostgresStore::connect(options.clone()).unwrap();
        lines[0].accepted() > 1 && lines[1].accepted() > 0
    });
}

#[test]
fn a_server_that_is_not_as_wanted_is_passed_over() {
    let schema = Schema::new();
    let line = Line::to(&schema.config());
    let writes = through(&line, &schema);
    let reads = writes
        .clone()
        .options("-c default_transaction_read_only=on");
    for (options, wanted, fits) in [
        (&writes, "any", true),
        (&writes, "read-write", true),
        (&writes, "primary", true),
        (&writes, "read-only", false),
        (&writes, "standby", false),
        (&writes, "prefer-standby", true),
        (&reads, "any", true),
        (&reads, "read-write", false),
        (&reads, "read-only", true),
        (&reads, "primary", true),
    ] {
        let options = options.clone().set("target_session_attrs", wanted).unwrap();
        if fits {
            PostgresStore::connect(options).unwrap();
        } else {
            let error = refused(options);
            assert!(error.contains("target_session_attrs"), "{error}");
        }
    }
}

/// Hosting providers set this if a disk is nearly full. It does not mean that another server takes writes.
#[test]
fn a_server_that_takes_no_writes_keeps_its_connections_and_says_what_to_do() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let line = Line::to(&schema.config());
    let builder = || schema.builder().max_connections(4).min_idle(4);
    let pooled = builder().connect(through(&line, &schema)).unwrap();
    wait_until("all connections are open", || line.open() == 4);
    let single = schema.builder().from_client(schema.client());
    for store in [pooled, single] {
        let read_only =
            |client: &mut Client| client.batch_execute("SET default_transaction_read_only = on");
        let connections = store.parallelism().get();
        let barrier = Barrier::new(connections);
        thread::scope(|scope| {
            // One call each, on all connections at the same time.
            for _ in 0..connections {
                scope.spawn(|| {
                    let set = |client: &mut Client| {
                        barrier.wait();
                        read_only(client)
                    };
                    store.with_client(set).unwrap().unwrap();
                });
            }
        });
        let accepted = line.accepted();
        let new = Key::generate().unwrap();
        for _ in 0..20 {
            for result in [
                store.generate(None, None).map(drop),
                store.set(&key, "crab", None),
                store.touch(&key, None),
                store.clear(&key),
                store.insert(&new, None, None),
                store.rotate(&key).map(drop),
                store
                    .update(&key, None, &mut |_| Some("crab".into()))
                    .map(drop),
                store
                    .set_many(&[(&key, "crab", None), (&new, "crab", None)])
                    .remove(0),
            ] {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Database(_)), "{error:?}");
                assert_eq!(error.sqlstate().unwrap().code(), "25006");
                let advice = "target_session_attrs=read-write";
                assert!(error.to_string().contains(advice), "{error}");
            }
            assert_eq!(store.get(&key).unwrap().value, "lobster");
        }
        assert_eq!(line.accepted(), accepted);
    }
}

#[test]
fn connections_are_made_side_by_side() {
    let schema = Schema::new();
    let line = Line::to(&schema.config());
    line.fall_silent();
    let options = through(&line, &schema).startonly(true);
    // One after the other, the second would wait for ever.
    let options = options.set("connect_timeout", "0").unwrap();
    let builder = schema.builder().max_connections(3).min_idle(3);
    let store = builder.connect(options).unwrap();
    wait_until("all three have called", || line.accepted() == 3);
    line.speak_again();
    store.create_table().unwrap();
}

#[test]
fn what_a_server_refuses_is_told_with_its_sqlstate_and_a_way_out() {
    let options: ConnectOptions = url().parse().unwrap();
    let error = PostgresStore::connect(options.clone().dbname("no \"such\" one")).unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "3D000");
    let text = error.to_string();
    assert!(
        text.contains("to database \"no \\\"such\\\" one\""),
        "{text}"
    );
    assert!(text.contains("PGDATABASE"), "{text}");

    let server = Server::builder()
        .setting("max_connections", "4")
        .start()
        .unwrap();
    let options: ConnectOptions = server.url().parse().unwrap();
    let stores: Vec<_> = (0..5)
        .map_while(|_| PostgresStore::connect(options.clone()).ok())
        .collect();
    assert!(stores.len() < 5);
    let error = PostgresStore::connect(options).unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "53300");
    assert!(error.to_string().contains("max_connections"), "{error}");
}

#[test]
fn where_only_the_start_is_asked_for_the_first_call_connects() {
    let server = Server::start().unwrap();
    server.stop().unwrap();
    let options = ConnectOptions::new()
        .conninfo(server.url())
        .unwrap()
        .startonly(true);
    let builder = PostgresStore::builder().timeout(Duration::from_millis(300));
    let store = builder.connect(options.clone()).unwrap();
    let error = store.create_table().unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    let why = "no server has its socket there";
    assert!(error.to_string().contains(why), "{error}");
    server.start_again().unwrap();
    let store = PostgresStore::builder()
        .timeout(PATIENCE)
        .connect(options)
        .unwrap();
    store.create_table().unwrap();
}

#[test]
fn every_argument_of_the_originals_connect_is_taken() {
    let config = Schema::new().config();
    let line = Line::to(&config);
    let options = ConnectOptions::new()
        .host("somewhere")
        .hostaddr("127.0.0.1")
        .port(line.port())
        .dbname(config.get_dbname().unwrap())
        .user(config.get_user().unwrap())
        .password("of no use")
        .options("-c work_mem=7654kB -c application_name=with\\ blank")
        .tty("/dev/tty")
        .requiressl("0")
        .startonly(false);
    let store = PostgresStore::connect(options.clone()).unwrap();
    assert_eq!(ask(&store, "SHOW work_mem"), "7654kB");
    assert_eq!(ask(&store, "SHOW application_name"), "with blank");
    let error = PostgresStore::connect(options.requiressl("1")).unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[test]
fn no_text_shows_the_password() {
    let options = ConnectOptions::new()
        .host("127.0.0.1")
        .port(NOBODYS)
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
    let shown = format!("{options:?} {}", refused(options.clone()));
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
        let error = PostgresStore::connect(mistyped).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("Secret") && !text.contains("Crab"), "{text}");
    }
}

#[test]
fn an_unknown_parameter_is_named_with_what_to_use_instead() {
    let url = "postgresql://crab:SecretOfTheCrab@127.0.0.1:1/app?sslmode=disable&";
    let pairs = "host=127.0.0.1 port=1 ";
    for (unknown, expected) in [
        ("schema=Value", "`PostgresStore::builder().schema("),
        (
            "pgbouncer=Value",
            "`PostgresStore::builder().prepared(false)`",
        ),
        (
            "statement_cache_size=Value",
            "`PostgresStore::builder().prepared(false)`",
        ),
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
            let error = PostgresStore::connect(&text).unwrap_err();
            assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
            let shown = format!("{error} {error:?}");
            assert!(
                shown.contains(&format!("the keyword `{name}` at character ")),
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
fn a_uri_of_another_kind_of_server_is_told_from_a_mistyped_one() {
    for scheme in ["mysql", "redis", "http", "Postgres", "jdbc:postgresql"] {
        let text = format!("{scheme}://crab:SecretOfTheCrab@127.0.0.1:1/app?ssl=true");
        let error = PostgresStore::connect(&text).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains(&format!("`{scheme}://`")) && shown.contains("`postgresql://`"),
            "{shown}"
        );
        assert!(!shown.contains("Secret"), "{shown}");
    }
}

#[test]
fn without_the_feature_to_ask_for_tls_is_an_error_and_never_a_plain_connection() {
    if cfg!(feature = "tls") {
        return;
    }
    let schema = Schema::new();
    let line = Line::to(&schema.config());
    let options = through(&line, &schema);
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let options = options.clone().sslmode(mode);
        let options = options.set("sslrootcert", "/nowhere").unwrap();
        let error = PostgresStore::connect(options).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
        assert!(error.to_string().contains("feature `tls`"), "{error}");
    }
    assert_eq!(line.accepted(), 0);
    for mode in [SslMode::Disable, SslMode::Allow, SslMode::Prefer] {
        PostgresStore::connect(options.clone().sslmode(mode)).unwrap();
    }
}

#[test]
fn the_pool_is_as_large_as_it_is_asked_to_be() {
    let schema = Schema::new();
    let line = Line::to(&schema.config());
    let options = through(&line, &schema);
    let builder = schema.builder().max_connections(3).min_idle(2);
    let store = builder.clone().connect(options.clone()).unwrap();
    wait_until("two wait for calls", || line.open() == 2);
    store.create_table().unwrap();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope
                .spawn(|| store.with_client(|client| client.batch_execute("SELECT pg_sleep(0.1)")));
        }
    });
    wait_until("there are three and no more", || line.open() == 3);
    for builder in [
        builder.clone().min_idle(4),
        builder.max_connections(u32::MAX),
    ] {
        let error = builder.connect(options.clone()).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
    }
}

/// The pool looks after its connections twice a minute.
#[test]
fn connections_are_closed_when_they_are_old_or_were_idle_for_long() {
    let schema = Schema::new();
    let (aging, resting) = (Line::to(&schema.config()), Line::to(&schema.config()));
    let second = Duration::from_secs(1);
    let aged = schema.builder().max_lifetime(second).min_idle(1);
    let rested = schema.builder().idle_timeout(second).min_idle(0);
    let _aged = aged.connect(through(&aging, &schema)).unwrap();
    let rested = rested.connect(through(&resting, &schema)).unwrap();
    wait_until("one waits for calls", || aging.open() == 1);
    let accepted = aging.accepted();
    rested.create_table().unwrap();
    assert!(resting.open() > 0);
    wait_until("the old one is closed, and another opened", || {
        aging.accepted() > accepted
    });
    wait_until("the idle one is closed", || resting.open() == 0);
    rested.check().unwrap();
}

#[test]
fn a_call_waits_no_longer_for_a_connection_than_it_may() {
    let schema = Schema::new();
    let builder = schema
        .builder()
        .max_connections(1)
        .timeout(PATIENCE)
        .checkout_timeout(Duration::from_millis(50));
    let store = builder.connect(url()).unwrap();
    store.create_table().unwrap();
    let inner = store.with_client(|_| store.generate(None, None)).unwrap();
    match inner.unwrap_err() {
        Error::TimedOut { waited, .. } => assert!(waited < PATIENCE),
        other => panic!("{other:?}"),
    }
    store.generate(None, None).unwrap();
}

/// Of each connection of this machine's to the port, whether the system probes it when it is idle.
fn are_kept_alive(port: u16) -> Option<Vec<bool>> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let to_port = format!(":{port:04X}");
    let lines = table.lines().skip(1);
    let connections = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let established = connections.filter(|words| words[2].ends_with(&to_port) && words[3] == "01");
    // Which timer runs.
    Some(
        established
            .map(|words| words[5].starts_with("02:"))
            .collect(),
    )
}

#[test]
fn idle_connections_are_kept_alive_unless_that_is_turned_off() {
    let schema = Schema::new();
    for (keepalives, expected) in [("1", true), ("0", false)] {
        let line = Line::to(&schema.config());
        if are_kept_alive(line.port()).is_none() {
            eprintln!("skipped: this system does not tell");
            return;
        }
        let options = through(&line, &schema)
            .set("keepalives", keepalives)
            .unwrap();
        let _store = PostgresStore::connect(options).unwrap();
        // While something is under way, another timer runs.
        wait_until("the connection is as wanted", || {
            are_kept_alive(line.port()) == Some(vec![expected])
        });
    }
}
