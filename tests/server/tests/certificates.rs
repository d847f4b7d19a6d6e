//! Certificates, as OpenSSL sees them.

mod support;

use std::process::Command;

use throwaway_postgres::certificates::{Ca, Pair};

use support::Folder;

/// By OpenSSL's strict rules, where there is its program.
#[test]
fn certificates_are_good_for_openssl() {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().ok()?;
        Some(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    };
    if openssl(&["version"]).is_none() {
        return;
    }
    let files = Folder::new("openssl");
    let ca = Ca::new("ours").expect("a CA");
    let root = files.file("root.crt", ca.pem());
    let file = |name: &str, pair: Pair| files.file(name, &pair.cert_pem);
    let names = ["localhost", "127.0.0.1"];
    let server = file("server.crt", ca.server(&names).expect("a pair"));
    let expired = file("expired.crt", ca.expired_server(&names).expect("a pair"));
    let client = file("client.crt", ca.client("app").expect("a pair"));
    let verify = |purpose: &str, cert: &str| {
        let args = ["verify", "-x509_strict", "-CAfile", &root];
        openssl(&[&args[..], &["-purpose", purpose, cert]].concat()).expect("openssl")
    };
    for (purpose, cert) in [("sslserver", &server), ("sslclient", &client)] {
        let said = verify(purpose, cert);
        assert!(said.ends_with(": OK\n"), "{said}");
    }
    for (purpose, cert, why) in [
        ("sslserver", &expired, "certificate has expired"),
        ("sslserver", &client, "unsuitable certificate purpose"),
        ("sslclient", &server, "unsuitable certificate purpose"),
    ] {
        let said = verify(purpose, cert);
        assert!(said.contains(why), "{said}");
    }
}
