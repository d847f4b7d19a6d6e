//! Authentication: passwords, TLS and certificates.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use throwaway_postgres::Server;
use throwaway_postgres::certificates::{Ca, Pair};

use support::Files;

fn psql(server: &Server, url: &str, password: &str) -> Output {
    Command::new(server.bin_dir().join("psql"))
        .args(["-XqAtw", "-c", "SELECT current_user", url])
        .env("PGPASSWORD", password)
        .stdin(Stdio::null())
        .output()
        .expect("psql")
}

fn assert_accepted(server: &Server, url: &str, password: &str, user: &str) {
    let output = psql(server, url, password);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{url}: {stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), user);
}

fn assert_rejected(server: &Server, url: &str, password: &str, why: &str) {
    let output = psql(server, url, password);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{url} was accepted");
    assert!(stderr.contains(why), "{url}: {stderr}");
}

fn port(server: &Server) -> String {
    let url = server.tcp_url().expect("a TCP server");
    let port = url
        .split(' ')
        .find_map(|part| part.strip_prefix("port="))
        .expect("a port");
    port.to_owned()
}

/// Returns `None` if this PostgreSQL is built without TLS.
fn tls(pair: &Pair, client_ca: Option<&Ca>, hba: &str) -> Option<Server> {
    let started = Server::builder()
        .tcp(true)
        .tls(&pair.cert_pem, &pair.key_pem, client_ca.map(Ca::pem))
        .hba(hba)
        .start();
    match started {
        Err(error) if error.to_string().contains("SSL is not supported") => None,
        started => Some(started.expect("a server")),
    }
}

#[test]
fn scram_rejects_a_wrong_password() {
    let server = Server::builder()
        .tcp(true)
        .hba("local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256")
        .start()
        .expect("a server");
    assert_accepted(&server, server.url(), "", "postgres");
    let made = Command::new(server.bin_dir().join("psql"))
        .args(["-Xqd", server.url(), "-c"])
        .arg("CREATE ROLE app LOGIN PASSWORD 'right'")
        .status();
    assert!(made.expect("psql").success());
    for url in [server.url(), server.tcp_url().expect("a second url")] {
        let url = url.replace("user=postgres", "user=app");
        assert_accepted(&server, &url, "right", "app");
        let why = "password authentication failed for user \"app\"";
        assert_rejected(&server, &url, "wrong", why);
    }
}

#[test]
fn a_client_verifies_the_authority_and_name_of_the_server() {
    let (ca, other) = (
        Ca::new("ours").expect("a CA"),
        Ca::new("ours").expect("a CA"),
    );
    let files = Files::new("tls");
    let root = files.write("root.crt", ca.pem());
    let wrong = files.write("wrong.crt", other.pem());
    let pair = ca.server(&["localhost", "127.0.0.1"]).expect("a pair");
    let Some(server) = tls(&pair, None, "hostssl all all 127.0.0.1/32 trust") else {
        return;
    };

    let port = port(&server);
    let url = |host: &str, root: &str| {
        format!(
            "host={host} hostaddr=127.0.0.1 port={port} user=postgres dbname=postgres \
             sslmode=verify-full sslrootcert={root}"
        )
    };
    assert_accepted(&server, &url("localhost", &root), "", "postgres");
    assert_accepted(&server, &url("127.0.0.1", &root), "", "postgres");
    let failed = "certificate verify failed";
    assert_rejected(&server, &url("localhost", &wrong), "", failed);
    let name = "does not match host name";
    assert_rejected(&server, &url("elsewhere.example", &root), "", name);
    let plain = format!("{} sslmode=disable", server.tcp_url().expect("a url"));
    assert_rejected(&server, &plain, "", "no pg_hba.conf entry");
    // Only the server's user can read the key.
    let key = server.socket_dir().join("server.key");
    let mode = fs::metadata(key).expect("the key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_client_rejects_an_expired_certificate() {
    let ca = Ca::new("ours").expect("a CA");
    let files = Files::new("expired");
    let root = files.write("root.crt", ca.pem());
    let pair = ca.expired_server(&["127.0.0.1"]).expect("a pair");
    let Some(server) = tls(&pair, None, "hostssl all all 127.0.0.1/32 trust") else {
        return;
    };
    let url = server.tcp_url().expect("a url");
    let verified = format!("{url} sslmode=verify-full sslrootcert={root}");
    assert_rejected(&server, &verified, "", "certificate verify failed");
    assert_accepted(&server, &format!("{url} sslmode=require"), "", "postgres");
}

#[test]
fn a_client_can_authenticate_with_its_certificate() {
    let (ca, other) = (
        Ca::new("ours").expect("a CA"),
        Ca::new("other").expect("a CA"),
    );
    let files = Files::new("client");
    let pair = ca.server(&["127.0.0.1"]).expect("a pair");
    let Some(server) = tls(&pair, Some(&ca), "hostssl all all 127.0.0.1/32 cert") else {
        return;
    };
    let url = |pair: Pair, name: &str| {
        let cert = files.write(&format!("{name}.crt"), &pair.cert_pem);
        let key = files.write(&format!("{name}.key"), &pair.key_pem);
        let url = server.tcp_url().expect("a url");
        format!("{url} sslmode=require sslcert={cert} sslkey={key}")
    };
    let ours = url(ca.client("postgres").expect("a pair"), "ours");
    assert_accepted(&server, &ours, "", "postgres");
    let wrong_name = url(ca.client("other").expect("a pair"), "other");
    assert_rejected(
        &server,
        &wrong_name,
        "",
        "certificate authentication failed",
    );
    let foreign = url(other.client("postgres").expect("a pair"), "foreign");
    assert_rejected(&server, &foreign, "", "unknown ca");
    let none = format!("{} sslmode=require", server.tcp_url().expect("a url"));
    assert_rejected(
        &server,
        &none,
        "",
        "connection requires a valid client certificate",
    );
}
