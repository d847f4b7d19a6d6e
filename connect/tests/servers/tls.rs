//! TLS: which certificates are trusted, and what happens if one side has no TLS.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    thread,
    time::Duration,
};

use postgres_connect::{
    ConnectOptions, Error, SslMode, connect,
    postgres::{Config, NoTls},
};
use throwaway_postgres::{
    Server,
    certificates::{Ca, Pair},
};

use crate::support::{Files, cancels, child, port};

/// Whether TLS is by OpenSSL. Otherwise it is by rustls.
pub(crate) const IS_OPENSSL: bool = cfg!(feature = "tls");

const MODES: [SslMode; 6] = [
    SslMode::Disable,
    SslMode::Allow,
    SslMode::Prefer,
    SslMode::Require,
    SslMode::VerifyCa,
    SslMode::VerifyFull,
];

/// Starts a server with this certificate and this `pg_hba.conf`. Returns `None` if PostgreSQL is built without
/// TLS.
pub(crate) fn server(pair: &Pair, hba: &str, clients: Option<&Ca>) -> Option<Server> {
    let builder = Server::builder().tcp(true).hba(hba);
    let builder = builder.tls(&pair.cert_pem, &pair.key_pem, clients.map(Ca::pem));
    match builder.start() {
        Ok(server) => Some(server),
        Err(e) if e.to_string().contains("SSL is not supported by this build") => {
            eprintln!("skipped: this PostgreSQL is built without TLS");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

pub(crate) const TRUST_LOCAL: &str = "host all all 127.0.0.1/32 trust";

/// Options that connect to the server, with `name` as its host name.
pub(crate) fn options(server: &Server, name: &str) -> ConnectOptions {
    let options: ConnectOptions = server.tcp_url().unwrap().parse().unwrap();
    options.host(name).hostaddr("127.0.0.1")
}

pub(crate) fn trusting(options: ConnectOptions, roots: &Path) -> ConnectOptions {
    options.set("sslrootcert", roots.to_str().unwrap()).unwrap()
}

/// Connects, and returns whether the connection uses TLS.
pub(crate) fn uses_tls(options: ConnectOptions) -> Result<bool, Error> {
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let mut client = connect(options)?;
    Ok(client.query_one(sql, &[]).unwrap().get(0))
}

pub(crate) fn is_refused(options: ConnectOptions, why: &str) {
    let error = uses_tls(options).unwrap_err();
    assert!(!error.is_invalid_option(), "{error:?}");
    assert!(error.to_string().contains(why), "not {why:?}: {error}");
}

#[test]
fn sslmode_decides_which_certificates_are_trusted() {
    let files = Files::new();
    let (ca, other) = (Ca::new("ours").unwrap(), Ca::new("another").unwrap());
    let right = files.write("right.pem", ca.pem());
    let wrong = files.write("wrong.pem", other.pem());
    let Some(server) = server(&ca.server(&["db.test"]).unwrap(), TRUST_LOCAL, None) else {
        return;
    };
    let named = options(&server, "db.test");

    for mode in MODES {
        let tls = !matches!(mode, SslMode::Disable | SslMode::Allow);
        let options = trusting(named.clone().sslmode(mode), &right);
        assert_eq!(uses_tls(options.clone()).unwrap(), tls, "{mode:?}");
        let misnamed = options.host("web.test");
        if mode == SslMode::VerifyFull {
            is_refused(misnamed, "hostname mismatch");
        } else {
            assert_eq!(uses_tls(misnamed).unwrap(), tls, "{mode:?}");
        }
    }
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let options = trusting(named.clone().sslmode(mode), &wrong);
        is_refused(options.clone(), "certificate verify failed");
        is_refused(options.host("web.test"), "certificate verify failed");
    }
    cancels(&trusting(
        named.clone().sslmode(SslMode::VerifyFull),
        &right,
    ));
    // As in libpq, `prefer` connects without TLS if the certificate is not trusted.
    let options = trusting(named.clone().sslmode(SslMode::Prefer), &wrong);
    assert!(!uses_tls(options.clone()).unwrap());
    // So does a cancel request.
    cancels(&options);
    // Without root certificates every certificate is accepted, unless the mode needs them.
    let options = named.clone().sslmode(SslMode::Require);
    assert!(uses_tls(options).unwrap());
    let error = uses_tls(named.clone().sslmode(SslMode::VerifyFull)).unwrap_err();
    assert!(error.is_invalid_option(), "{error:?}");
    // No authority of the system has signed it.
    let options = named.set("sslrootcert", "system").unwrap();
    is_refused(options, "certificate verify failed");
}

#[test]
fn the_authorities_of_the_system_are_trusted_only_on_request() {
    const NAME: &str = "tls::the_authorities_of_the_system_are_trusted_only_on_request";
    if child::is_for(NAME) {
        // The other options come from the environment.
        let options = ConnectOptions::new();
        let system = options.clone().set("sslrootcert", "system").unwrap();
        assert!(uses_tls(system.clone()).unwrap());
        is_refused(system.host("web.test"), "hostname mismatch");
        let own = options.sslmode(SslMode::VerifyCa);
        is_refused(own, "certificate verify failed");
        return;
    }
    let files = Files::new();
    let (system, own) = (Ca::new("system").unwrap(), Ca::new("own").unwrap());
    let Some(server) = server(&system.server(&["db.test"]).unwrap(), TRUST_LOCAL, None) else {
        return;
    };
    child::run_with(
        NAME,
        &[
            (
                "SSL_CERT_FILE",
                files.write("system.pem", system.pem()).to_str().unwrap(),
            ),
            (
                "PGSSLROOTCERT",
                files.write("own.pem", own.pem()).to_str().unwrap(),
            ),
            ("PGHOST", "db.test"),
            ("PGHOSTADDR", "127.0.0.1"),
            ("PGPORT", &port(&server).to_string()),
            ("PGUSER", "postgres"),
        ],
    );
}

#[test]
fn a_certificate_can_be_issued_for_an_address() {
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let roots = files.write("ca.pem", ca.pem());
    // The name in CN is another.
    let pair = ca.server(&["db.test", "127.0.0.1"]).unwrap();
    let Some(server) = server(&pair, TRUST_LOCAL, None) else {
        return;
    };
    for options in [
        options(&server, "127.0.0.1"),
        ConnectOptions::new()
            .hostaddr("127.0.0.1")
            .port(port(&server))
            .user("postgres"),
    ] {
        let options = trusting(options.sslmode(SslMode::VerifyFull), &roots);
        assert!(uses_tls(options).unwrap());
    }
}

#[test]
fn a_wildcard_in_a_certificate_stands_for_a_whole_label() {
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let roots = files.write("ca.pem", ca.pem());
    for (pattern, is_right) in [("*.db.test", true), ("o*.db.test", false)] {
        let pair = ca.server(&[pattern]).unwrap();
        let Some(server) = server(&pair, TRUST_LOCAL, None) else {
            return;
        };
        let options = trusting(options(&server, "one.db.test"), &roots);
        let options = options.sslmode(SslMode::VerifyFull);
        if is_right {
            assert!(uses_tls(options.clone()).unwrap());
            is_refused(options.host("a.one.db.test"), "hostname mismatch");
        } else {
            is_refused(options, "hostname mismatch");
        }
    }
}

#[test]
fn the_server_is_told_its_host_name_unless_sslsni_is_0() {
    let hello = |name: &str, sslsni: &str| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let options = ConnectOptions::new()
            .host(name)
            .hostaddr("127.0.0.1")
            .port(listener.local_addr().unwrap().port())
            .sslmode(SslMode::Require);
        let options = options.set("sslsni", sslsni).unwrap();
        let client = thread::spawn(|| connect(options).err().unwrap());
        let (mut socket, _) = listener.accept().unwrap();
        socket.read_exact(&mut [0; 8]).unwrap();
        socket.write_all(b"S").unwrap();
        let mut header = [0; 5];
        socket.read_exact(&mut header).unwrap();
        let mut hello = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
        socket.read_exact(&mut hello).unwrap();
        drop((socket, listener));
        client.join().unwrap();
        hello
    };
    let names = |hello: &[u8], name: &str| hello.windows(name.len()).any(|w| w == name.as_bytes());
    assert!(names(&hello("db.test", "1"), "db.test"));
    assert!(!names(&hello("db.test", "0"), "db.test"));
    assert!(!names(&hello("127.0.0.1", "1"), "127.0.0.1"));
}

#[test]
fn an_expired_certificate_is_refused() {
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let roots = files.write("ca.pem", ca.pem());
    let pair = ca.expired_server(&["db.test"]).unwrap();
    let Some(server) = server(&pair, TRUST_LOCAL, None) else {
        return;
    };
    let options = trusting(options(&server, "db.test"), &roots);
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        is_refused(options.clone().sslmode(mode), "certificate has expired");
    }
}

#[test]
fn a_revoked_certificate_is_refused() {
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let roots = files.write("ca.pem", ca.pem());
    let (good, bad) = (
        ca.server(&["db.test"]).unwrap(),
        ca.server(&["db.test"]).unwrap(),
    );
    let list = files.write("revoked.pem", &ca.revoked(&[&bad]).unwrap());
    for (pair, is_good) in [(good, true), (bad, false)] {
        let Some(server) = server(&pair, TRUST_LOCAL, None) else {
            return;
        };
        let options = trusting(options(&server, "db.test"), &roots);
        let options = options.sslmode(SslMode::VerifyFull);
        assert!(uses_tls(options.clone()).unwrap());
        let options = options.set("sslcrl", list.to_str().unwrap()).unwrap();
        if is_good {
            assert!(uses_tls(options).unwrap());
        } else {
            is_refused(options, "certificate revoked");
        }
    }
}

#[test]
fn a_server_without_tls_is_refused_if_tls_is_required() {
    let files = Files::new();
    let roots = files.write("ca.pem", Ca::new("ours").unwrap().pem());
    let server = Server::builder().tcp(true).start().unwrap();
    let options = trusting(options(&server, "db.test"), &roots);
    for mode in MODES {
        let options = options.clone().sslmode(mode);
        if mode >= SslMode::Require {
            is_refused(options, "the server does not support TLS");
        } else {
            assert!(!uses_tls(options).unwrap());
        }
    }
    is_refused(
        options.sslmode(SslMode::Disable).requiressl("1"),
        "the server does not support TLS",
    );
}

/// CVE-2021-23222.
#[test]
fn an_invalid_answer_about_tls_never_leads_to_a_plain_connection() {
    for answer in ["SInjected", "NInjected", "ERROR", "?"] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let options = ConnectOptions::new()
            .host("127.0.0.1")
            .port(listener.local_addr().unwrap().port())
            .user("crab")
            .sslmode(SslMode::Prefer)
            .connect_timeout(Duration::from_secs(1));
        let (error, sent) = thread::scope(|scope| {
            let client = scope.spawn(|| connect(options).err().unwrap());
            let (mut socket, _) = listener.accept().unwrap();
            socket.read_exact(&mut [0; 8]).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
            let mut sent = Vec::new();
            // The client leaves bytes unread, so its close may be an error here.
            let _ = socket.read_to_end(&mut sent);
            (client.join().unwrap(), sent)
        });
        assert!(!error.is_invalid_option(), "{answer}: {error:?}");
        assert!(error.to_string().contains("answer"), "{answer}: {error}");
        assert!(sent.is_empty(), "{answer}: {sent:?}");
        listener.set_nonblocking(true).unwrap();
        let again = listener.accept();
        assert!(again.is_err(), "{answer}: {again:?}");
    }
}

#[test]
fn the_server_decides_about_tls_if_the_client_accepts_both() {
    let ca = Ca::new("ours").unwrap();
    let pair = ca.server(&["db.test"]).unwrap();
    for (hba, fitting) in [
        ("hostssl all all 127.0.0.1/32 trust", true),
        ("hostnossl all all 127.0.0.1/32 trust", false),
    ] {
        let Some(server) = server(&pair, hba, None) else {
            return;
        };
        let options = options(&server, "db.test");
        for mode in [SslMode::Allow, SslMode::Prefer] {
            let options = options.clone().sslmode(mode);
            assert_eq!(uses_tls(options).unwrap(), fitting, "{hba}");
        }
        let unfit = if fitting {
            SslMode::Disable
        } else {
            SslMode::Require
        };
        let error = uses_tls(options.sslmode(unfit)).unwrap_err();
        assert_eq!(error.sqlstate().unwrap().code(), "28000", "{error}");
        assert!(error.to_string().contains("pg_hba.conf"), "{error}");
    }
}

/// Starts a server with this certificate that asks for a password, and returns options with the password.
pub(crate) fn with_password(pair: &Pair) -> Option<(Server, ConnectOptions)> {
    let server = server(pair, "host all all 127.0.0.1/32 scram-sha-256", None)?;
    let setup: Config = server.url().parse().unwrap();
    let mut superuser = setup.connect(NoTls).unwrap();
    superuser
        .batch_execute("CREATE ROLE web LOGIN PASSWORD 'lobster'")
        .unwrap();
    let options = options(&server, "db.test").user("web").password("lobster");
    Some((server, options))
}

#[test]
fn a_password_can_be_bound_to_the_channel() {
    let ca = Ca::new("ours").unwrap();
    let Some((_server, options)) = with_password(&ca.server(&["db.test"]).unwrap()) else {
        return;
    };
    let bound = options.clone().set("channel_binding", "require").unwrap();
    assert!(uses_tls(bound.clone()).unwrap());
    let error = uses_tls(bound.sslmode(SslMode::Disable)).unwrap_err();
    assert!(error.to_string().contains("channel binding"), "{error}");
    assert!(error.to_string().contains("needs TLS"), "{error}");
    assert!(!uses_tls(options.sslmode(SslMode::Disable)).unwrap());
}
