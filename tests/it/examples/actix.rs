//! `examples/actix.rs`.

use super::{
    Site,
    login_site::{Example, test_login_site},
    program::command,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const ACTIX: Example = Example {
    name: "actix",
    secure_cookie: "__Host-actix",
    secure_settings: &[("ORIGIN", "https://example.org"), ("COOKIE_SECRET", SECRET)],
};

test_login_site!(ACTIX);

#[test]
fn actix_does_not_start_with_a_secret_that_others_know() {
    let refused = |settings: &[(&str, &str)]| {
        let output = command("actix")
            .env("LISTEN", "127.0.0.1:0")
            // If the secret is accepted, the program ends, too, but with another error.
            .env("DATABASE_URL", "postgresql://127.0.0.1:1/")
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(stderr.contains("set COOKIE_SECRET"), "{stderr}");
    };
    refused(&[("ORIGIN", "https://example.org")]);
    refused(&[("COOKIE_SECRET", &SECRET[1..])]);
    refused(&[("COOKIE_SECRET", "")]);
}

#[test]
fn actix_rejects_a_cookie_with_another_signature() {
    let site = Site::start("actix", &[("COOKIE_SECRET", SECRET)]);
    let cookie = site.ask("GET /", None).cookie();
    assert_eq!(site.ask("GET /", Some(&cookie)).visits(), 2);
    let (_, key) = cookie.split_at(cookie.len() - 40);
    for forged in [
        &format!("actix={key}"),
        &cookie.replacen("actix=", "actix=x", 1),
    ] {
        let answer = site.ask("GET /", Some(forged));
        assert_eq!(answer.visits(), 1);
        assert_ne!(answer.cookie(), cookie);
    }
    assert_eq!(site.ask("GET /", Some(&cookie)).visits(), 3);
}
