//! What OpenSSL and rustls do differently: what rustls cannot do is refused, with a text that says what to do.

use std::time::{Duration, SystemTime};

use postgres_connect::{ConnectOptions, Connector, Error, SslMode};
use throwaway_postgres::{
    Server,
    certificates::{Ca, Pair},
};

use crate::{
    support::Files,
    tls::{
        IS_OPENSSL, TRUST_LOCAL, is_refused, options, server, trusting, uses_tls, with_password,
    },
};

/// OpenSSL connects, and rustls refuses for this reason.
fn only_openssl_accepts(options: ConnectOptions, why: &str) {
    if IS_OPENSSL {
        assert!(uses_tls(options).unwrap());
    } else {
        is_refused(options, why);
    }
}

fn server_with(pair: &Pair) -> Option<Server> {
    server(pair, TRUST_LOCAL, None)
}

#[test]
fn a_certificate_with_its_name_in_cn_needs_openssl() {
    let files = Files::new();
    let ca = Ca::new("ours").unwrap();
    let roots = files.write("ca.pem", ca.pem());
    let pair = ca.server_without_alternative_name("db.test").unwrap();
    let Some(server) = server_with(&pair) else {
        return;
    };
    let options = trusting(options(&server, "db.test"), &roots);
    let full = options.clone().sslmode(SslMode::VerifyFull);
    only_openssl_accepts(full.clone(), "no subject alternative name");
    is_refused(full.host("web.test"), "hostname mismatch");
    // The other modes do not need the name.
    assert!(uses_tls(options.sslmode(SslMode::VerifyCa)).unwrap());
}

#[test]
fn a_server_with_the_certificate_of_an_authority_needs_openssl() {
    let files = Files::new();
    let ca = Ca::new("db.test").unwrap();
    let roots = files.write("ca.pem", ca.pem());
    let Some(server) = server_with(&ca.pair()) else {
        return;
    };
    let options = options(&server, "db.test");
    assert!(uses_tls(options.clone().sslmode(SslMode::Require)).unwrap());
    let options = trusting(options, &roots).sslmode(SslMode::VerifyFull);
    only_openssl_accepts(options, "the certificate of an authority");
}

/// The pairs were created with the program `openssl`: `x509 -req` of OpenSSL 3.0 without extensions creates a
/// certificate of version 1.
#[test]
fn certificates_of_version_1_and_with_p_521_need_openssl() {
    for (pair, why) in [
        (
            Pair::new(
                include_str!("pairs/version-1.pem"),
                include_str!("pairs/version-1.key"),
            ),
            "X.509 version 1",
        ),
        (
            Pair::new(
                include_str!("pairs/p-521.pem"),
                include_str!("pairs/p-521.key"),
            ),
            "does not support",
        ),
    ] {
        let Some(server) = server_with(&pair) else {
            return;
        };
        let options = options(&server, "db.test").sslmode(SslMode::Require);
        only_openssl_accepts(options, why);
    }
}

/// The pair was created with `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha512`.
#[test]
fn channel_binding_with_ecdsa_and_sha_512_needs_openssl() {
    let pair = Pair::new(
        include_str!("pairs/ecdsa-sha-512.pem"),
        include_str!("pairs/ecdsa-sha-512.key"),
    );
    let Some((_server, options)) = with_password(&pair) else {
        return;
    };
    let options = options.sslmode(SslMode::Require);
    assert!(uses_tls(options.clone()).unwrap());
    let bound = options.set("channel_binding", "require").unwrap();
    only_openssl_accepts(bound, "ECDSA and SHA-512 unless the feature `tls` is on");
}

#[test]
fn a_host_name_that_is_no_dns_name_needs_openssl() {
    let ca = Ca::new("ours").unwrap();
    let Some(server) = server_with(&ca.server(&["db.test"]).unwrap()) else {
        return;
    };
    let options = options(&server, "db test").sslmode(SslMode::Require);
    only_openssl_accepts(options, "not a valid DNS name");
}

#[test]
fn an_expired_root_certificate_is_not_trusted() {
    let files = Files::new();
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    let ca = Ca::valid_until("ours", yesterday).unwrap();
    let roots = files.write("ca.pem", ca.pem());
    let Some(server) = server_with(&ca.server(&["db.test"]).unwrap()) else {
        return;
    };
    let options = trusting(options(&server, "db.test"), &roots).sslmode(SslMode::VerifyCa);
    let why = match IS_OPENSSL {
        true => "certificate has expired",
        false => "no root certificate that is valid now",
    };
    is_refused(options, why);
}

#[test]
fn a_current_revocation_list_must_be_there_for_every_authority() {
    let files = Files::new();
    let (ours, another) = (Ca::new("ours").unwrap(), Ca::new("another").unwrap());
    let roots = files.write("ca.pem", ours.pem());
    let list = files.write("revoked.pem", &another.revoked(&[]).unwrap());
    let Some(server) = server_with(&ours.server(&["db.test"]).unwrap()) else {
        return;
    };
    let options = trusting(options(&server, "db.test"), &roots).sslmode(SslMode::VerifyCa);
    let options = options.set("sslcrl", list.to_str().unwrap()).unwrap();
    let why = match IS_OPENSSL {
        true => "unable to get certificate CRL",
        false => "sslcrl has no list of its issuer",
    };
    is_refused(options.clone(), why);
    files.write("revoked.pem", &ours.outdated_list().unwrap());
    is_refused(options, "CRL has expired");
}

#[test]
fn a_client_certificate_of_version_1_needs_openssl() {
    let files = Files::new();
    let certificate = files.write("client.pem", include_str!("pairs/version-1.pem"));
    let key = files.write("client.key", include_str!("pairs/version-1.key"));
    let options = ConnectOptions::new().host("127.0.0.1").user("crab");
    let options = options.set("sslcert", certificate.to_str().unwrap());
    let options = options.unwrap().set("sslkey", key.to_str().unwrap());
    let error = Connector::new(&options.unwrap()).err();
    assert_eq!(error.is_none(), IS_OPENSSL, "{error:?}");
    let is_explained = |e: Error| e.to_string().contains("X.509 version 1");
    assert!(error.is_none_or(is_explained));
}
