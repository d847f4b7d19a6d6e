//! Which certificates are read, and when: those that the options name for each connection, those of the system once.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

#[cfg(not(feature = "tls"))]
use postgres_connect::Error;
use postgres_connect::{ConnectOptions, Connector, SslMode};
use throwaway_postgres::certificates::Ca;

use crate::{
    support::{Files, child, port},
    tls::{TRUST_LOCAL, options, server, trusting},
};

#[test]
fn replaced_root_certificates_are_used_by_the_next_connection() {
    let files = Files::new();
    let (ours, another) = (Ca::new("ours").unwrap(), Ca::new("another").unwrap());
    let roots = files.write("roots.pem", ours.pem());
    let Some(server) = server(&ours.server(&["db.test"]).unwrap(), TRUST_LOCAL, None) else {
        return;
    };
    let options = options(&server, "db.test").sslmode(SslMode::VerifyFull);
    let connector = Connector::new(&trusting(options, &roots)).unwrap();
    connector.connect().unwrap();
    files.write("roots.pem", another.pem());
    let error = connector.connect().err().unwrap().to_string();
    assert!(error.contains("certificate verify failed"), "{error}");
    files.write("roots.pem", ours.pem());
    connector.connect().unwrap();
    fs::remove_file(roots).unwrap();
    let error = connector.connect().err().unwrap().to_string();
    assert!(error.contains("root certificates cannot be"), "{error}");
}

#[test]
fn a_replaced_revocation_list_is_used_by_the_next_connection() {
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let pair = ca.server(&["db.test"]).unwrap();
    let roots = files.write("roots.pem", ca.pem());
    let list = files.write("revoked.pem", &ca.revoked(&[]).unwrap());
    let Some(server) = server(&pair, TRUST_LOCAL, None) else {
        return;
    };
    let options = trusting(options(&server, "db.test"), &roots).sslmode(SslMode::VerifyCa);
    let options = options.set("sslcrl", list.to_str().unwrap()).unwrap();
    let connector = Connector::new(&options).unwrap();
    connector.connect().unwrap();
    files.write("revoked.pem", &ca.revoked(&[&pair]).unwrap());
    let error = connector.connect().err().unwrap().to_string();
    assert!(error.contains("certificate revoked"), "{error}");
}

#[test]
fn a_replaced_client_certificate_is_used_by_the_next_connection() {
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let hba = "hostssl all all 127.0.0.1/32 cert";
    let Some(server) = server(&ca.server(&["db.test"]).unwrap(), hba, Some(&ca)) else {
        return;
    };
    let replace = |name| {
        let pair = ca.client(name).unwrap();
        let certificate = files.write("client.pem", &pair.cert_pem);
        (certificate, files.write("client.key", &pair.key_pem))
    };
    let (certificate, key) = replace("postgres");
    let options = options(&server, "db.test")
        .sslmode(SslMode::Require)
        .set("sslcert", certificate.to_str().unwrap())
        .unwrap();
    let options = options.set("sslkey", key.to_str().unwrap()).unwrap();
    let connector = Connector::new(&options).unwrap();
    connector.connect().unwrap();
    replace("crab");
    let error = connector.connect().err().unwrap();
    assert_eq!(error.sqlstate().unwrap().code(), "28000", "{error}");
    replace("postgres");
    connector.connect().unwrap();
}

/// The file of the system's authorities is a named pipe, so that a thread that opens it to write waits until something
/// reads it.
#[test]
fn the_authorities_of_the_system_are_read_once_and_only_if_they_are_used() {
    const NAME: &str =
        "certificate_files::the_authorities_of_the_system_are_read_once_and_only_if_they_are_used";
    if child::is_for(NAME) {
        return in_child();
    }
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let own = files.write("own.pem", ca.pem());
    let pipe = files.path().join("system.pem");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let Some(server) = server(&ca.server(&["db.test"]).unwrap(), TRUST_LOCAL, None) else {
        return;
    };
    child::run_with(
        NAME,
        &[
            ("OWN_ROOTS", own.to_str().unwrap()),
            ("SSL_CERT_FILE", pipe.to_str().unwrap()),
            ("PGHOST", "db.test"),
            ("PGHOSTADDR", "127.0.0.1"),
            ("PGPORT", &port(&server).to_string()),
            ("PGUSER", "postgres"),
        ],
    );
}

fn in_child() {
    let own = env::var("OWN_ROOTS").unwrap();
    let options = ConnectOptions::new();

    let reader = Reader::wait();
    let trusting = options.clone().sslmode(SslMode::VerifyFull);
    let trusting = trusting.set("sslrootcert", &own).unwrap();
    for options in [options.clone().sslmode(SslMode::Require), trusting] {
        let connector = Connector::new(&options).unwrap();
        assert!(!reader.is_there(), "read although they are not used");
        connector.connect().unwrap();
        assert!(!reader.is_there(), "read although they are not used");
    }

    let system = options.set("sslrootcert", "system").unwrap();
    let connector = Connector::new(&system).unwrap();
    assert!(reader.is_there());
    let reader = Reader::wait();
    connector.connect().unwrap();
    assert!(!reader.is_there(), "read again");
}

/// Whether something has read the named pipe.
struct Reader(Arc<AtomicBool>);

impl Reader {
    /// Waits in a thread for a reader, and sends it the certificate that is in the file `OWN_ROOTS`.
    fn wait() -> Reader {
        let is_there = Arc::new(AtomicBool::new(false));
        let found = Arc::clone(&is_there);
        thread::spawn(move || {
            let content = fs::read(env::var("OWN_ROOTS").unwrap()).unwrap();
            let pipe = env::var("SSL_CERT_FILE").unwrap();
            let mut pipe = OpenOptions::new().write(true).open(pipe).unwrap();
            found.store(true, Ordering::SeqCst);
            pipe.write_all(&content).unwrap();
        });
        Reader(is_there)
    }

    fn is_there(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// OpenSSL does not tell whether it has read the system's certificates.
#[cfg(not(feature = "tls"))]
#[test]
fn the_authorities_of_the_system_are_read_again_after_a_failure() {
    const NAME: &str =
        "certificate_files::the_authorities_of_the_system_are_read_again_after_a_failure";
    if child::is_for(NAME) {
        return fail_in_child();
    }
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let own = files.write("own.pem", ca.pem());
    let Some(server) = server(&ca.server(&["db.test"]).unwrap(), TRUST_LOCAL, None) else {
        return;
    };
    child::run_with(
        NAME,
        &[
            ("OWN_ROOTS", own.to_str().unwrap()),
            (
                "SSL_CERT_FILE",
                files.path().join("system.pem").to_str().unwrap(),
            ),
            // This directory is not there, so what the file contains is never all of it.
            (
                "SSL_CERT_DIR",
                files.path().join("system").to_str().unwrap(),
            ),
            ("PGHOST", "db.test"),
            ("PGHOSTADDR", "127.0.0.1"),
            ("PGPORT", &port(&server).to_string()),
            ("PGUSER", "postgres"),
            ("PGSSLROOTCERT", "system"),
        ],
    );
}

#[cfg(not(feature = "tls"))]
fn fail_in_child() {
    let own = env::var("OWN_ROOTS").unwrap();
    let file = env::var("SSL_CERT_FILE").unwrap();
    let connector = || Connector::new(&ConnectOptions::new());
    let is_unreadable = |error: Error| {
        let error = error.to_string();
        assert!(error.contains("root certificates cannot be"), "{error}");
        assert!(error.contains(&format!("at '{file}'")), "{error}");
    };

    let error = connector().err().unwrap();
    assert!(error.is_invalid_option(), "{error}");
    is_unreadable(error);

    fs::copy(&own, &file).unwrap();
    let connector = connector().unwrap();
    connector.connect().unwrap();
    fs::remove_file(&file).unwrap();
    is_unreadable(connector.connect().err().unwrap());
    fs::copy(&own, &file).unwrap();
    connector.connect().unwrap();
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_system_without_authorities_is_an_error() {
    const NAME: &str = "certificate_files::a_system_without_authorities_is_an_error";
    if child::is_for(NAME) {
        let options = ConnectOptions::new().host("db.test");
        let options = options.set("sslrootcert", "system").unwrap();
        let error = Connector::new(&options).err().unwrap();
        assert!(error.is_invalid_option(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("the system has no root certificates"),
            "{text}"
        );
        return;
    }
    let files = Files::new();
    let none = files.write("system.pem", "");
    let none = [
        ("SSL_CERT_FILE", none.to_str().unwrap()),
        ("SSL_CERT_DIR", ""),
    ];
    child::run_with(NAME, &none);
}
