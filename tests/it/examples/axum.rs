//! `examples/axum.rs`.

use super::login_site::{Example, test_login_site};

const AXUM: Example = Example {
    name: "axum",
    // tower-sessions cannot remove a cookie with the prefix `__Host-`.
    secure_cookie: "axum",
    secure_settings: &[("ORIGIN", "https://example.org")],
};

test_login_site!(AXUM);
