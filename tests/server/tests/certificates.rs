//! Certificates that OpenSSL verifies.

mod support;

use std::process::Command;

use throwaway_postgres::certificates::{Ca, Pair};

use support::Files;

/// Skipped if there is no program `openssl`.
#[test]
fn openssl_verifies_certificates_by_its_strict_rules() {
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
    let files = Files::new("openssl");
    let ca = Ca::new("ours").expect("a CA");
    let root = files.write("root.crt", ca.pem());
    let file = |name: &str, pair: Pair| files.write(name, &pair.cert_pem);
    let names = ["localhost", "127.0.0.1"];
    let server = file("server.crt", ca.server(&names).expect("a pair"));
    let expired = file("expired.crt", ca.expired_server(&names).expect("a pair"));
    let client = file("client.crt", ca.client("app").expect("a pair"));
    let verify = |purpose: &str, cert: &str| {
        let args = ["verify", "-x509_strict", "-CAfile", &root];
        openssl(&[&args[..], &["-purpose", purpose, cert]].concat()).expect("openssl")
    };
    for (purpose, cert) in [("sslserver", &server), ("sslclient", &client)] {
        let output = verify(purpose, cert);
        assert!(output.ends_with(": OK\n"), "{output}");
    }
    for (purpose, cert, why) in [
        ("sslserver", &expired, "certificate has expired"),
        ("sslserver", &client, "unsuitable certificate purpose"),
        ("sslclient", &server, "unsuitable certificate purpose"),
    ] {
        let output = verify(purpose, cert);
        assert!(output.contains(why), "{output}");
    }
}
