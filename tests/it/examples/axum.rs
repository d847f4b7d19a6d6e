//! `examples/axum.rs`.

#[cfg(feature = "metrics")]
use super::Site;
use super::login_site::{Example, test_login_site};
#[cfg(not(feature = "metrics"))]
use super::program::command;
#[cfg(feature = "metrics")]
use crate::support::http::{Answer, send};

const AXUM: Example = Example {
    name: "axum",
    // tower-sessions cannot remove a cookie with the prefix `__Host-`.
    secure_cookie: "axum",
    secure_settings: &[("ORIGIN", "https://example.org")],
};

test_login_site!(AXUM);

#[cfg(feature = "metrics")]
#[test]
fn axum_serves_metrics_at_an_address_of_their_own() {
    let site = Site::start("axum", &[("METRICS", "127.0.0.1:0")]);
    let cookie = site.ask("GET /", None).cookie();
    site.ask("GET /", Some(&cookie));
    let announced = site.announced.strip_prefix("Metrics are at http://");
    let (address, path) = announced.unwrap().trim().split_once('/').unwrap();
    let ask = |path| Answer::read(send(address.parse().unwrap(), path, None, ""));
    let metrics = ask(&format!("GET /{path}"));
    assert_eq!(metrics.status, 200);
    let (key, lines) = (cookie.split_once('=').unwrap().1, metrics.body.lines());
    for line in [
        "session_offload_calls_total{method=\"insert\"} 1",
        "session_store_calls_total{method=\"set\"} 1",
        "session_store_statement_seconds_count",
        "# TYPE session_offload_waiting_calls gauge",
    ] {
        assert!(
            lines.clone().any(|found| found.starts_with(line)),
            "{line}: {}",
            metrics.body
        );
    }
    assert!(!metrics.body.contains(key));
    // Visitors do not see them.
    assert_eq!(site.ask("GET /metrics", None).status, 404);
}

#[cfg(not(feature = "metrics"))]
#[test]
fn axum_refuses_to_serve_metrics_that_do_not_exist() {
    let output = command("axum")
        .env("LISTEN", "127.0.0.1:0")
        .env("METRICS", "127.0.0.1:0")
        .env("DATABASE_URL", crate::support::database::url())
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && log.contains("add `--features metrics`"),
        "{log}"
    );
}
