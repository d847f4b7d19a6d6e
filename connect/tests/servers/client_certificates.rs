//! Certificates of the client, and the files of their keys.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use postgres_connect::SslMode;
use throwaway_postgres::certificates::Ca;

use crate::{
    support::Files,
    tls::{IS_OPENSSL, options, server, uses_tls},
};

/// The key, encrypted with the password `prawn`.
#[cfg(feature = "tls")]
fn encrypted(key: &str) -> String {
    use openssl::{pkey::PKey, symm::Cipher};
    let key = PKey::private_key_from_pem(key.as_bytes()).unwrap();
    let encrypted = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"prawn");
    String::from_utf8(encrypted.unwrap()).unwrap()
}

/// rustls only reads the type of the section.
#[cfg(not(feature = "tls"))]
fn encrypted(key: &str) -> String {
    key.replace(" PRIVATE KEY", " ENCRYPTED PRIVATE KEY")
}

#[test]
fn a_client_sends_its_certificate() {
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let pair = ca.server(&["db.test"]).unwrap();
    let hba = "hostssl all all 127.0.0.1/32 cert";
    let Some(server) = server(&pair, hba, Some(&ca)) else {
        return;
    };
    let client = ca.client("postgres").unwrap();
    let certificate = files.write("client.pem", &client.cert_pem);
    let key = files.write("client.key", &client.key_pem);
    let options = options(&server, "db.test");
    let with = |key: &Path| {
        let options = options.clone();
        let options = options
            .set("sslcert", certificate.to_str().unwrap())
            .unwrap();
        options.set("sslkey", key.to_str().unwrap()).unwrap()
    };
    assert!(uses_tls(with(&key)).unwrap());
    let error = uses_tls(options.clone().sslmode(SslMode::Require)).unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "28000", "{error}");

    let locked = with(&files.write("locked.key", &encrypted(&client.key_pem)));
    let unlocked = locked.clone().set("sslpassword", "prawn").unwrap();
    if IS_OPENSSL {
        assert!(uses_tls(unlocked).unwrap());
    } else {
        let error = uses_tls(unlocked).unwrap_err();
        assert!(error.is_invalid_option(), "{error:?}");
        assert!(error.to_string().contains("openssl pkey"), "{error}");
    }
    let error = uses_tls(locked).unwrap_err();
    assert!(error.is_invalid_option(), "{error:?}");
    // As in libpq, a password for a key that is not encrypted has no effect.
    let needless = with(&key).set("sslpassword", "prawn").unwrap();
    assert!(uses_tls(needless).unwrap());

    let open = files.write("open.key", &client.key_pem);
    let is_roots = fs::metadata(&open).unwrap().uid() == 0;
    for (mode, fits) in [
        (0o400, true),
        (0o700, true),
        (0o640, is_roots),
        (0o650, false),
        (0o660, false),
        (0o644, false),
        (0o601, false),
    ] {
        fs::set_permissions(&open, Permissions::from_mode(mode)).unwrap();
        match uses_tls(with(&open)) {
            Ok(uses_tls) => assert!(fits && uses_tls, "{mode:o}"),
            Err(error) => {
                let is_about_mode = error.to_string().contains("chmod 600");
                assert!(!fits && is_about_mode, "{mode:o}: {error}");
            }
        }
    }
    let directory = files.path().join("directory.key");
    fs::create_dir(&directory).unwrap();
    let error = uses_tls(with(&directory)).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let another = ca.client("postgres").unwrap();
    let another = files.write("another.key", &another.key_pem);
    let error = uses_tls(with(&another)).unwrap_err();
    assert!(error.to_string().contains("key values mismatch"), "{error}");
    fs::remove_file(&key).unwrap();
    let error = uses_tls(with(&key)).unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
}
