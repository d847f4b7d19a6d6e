//! `examples/axum.rs`.

use super::{Answer, Site};

impl Site {
    fn post(&self, path: &str, cookie: &str, form: &str) -> Answer {
        Answer::read(self.send(&format!("POST {path}"), Some(cookie), form))
    }

    /// Returns the page for a visitor with this cookie.
    fn page(&self, cookie: &str) -> String {
        let answer = self.ask("GET /", Some(cookie));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Returns the cookie of a visitor who has logged in.
    fn logged_in(&self, name: &str) -> String {
        let first = self.ask("GET /", None).cookie();
        let answer = self.post("/login", &first, &format!("name={name}"));
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
        answer.cookie()
    }
}

#[test]
fn axum_sets_a_secure_cookie_unless_it_serves_http_on_this_machine() {
    let site = Site::start("axum", &[]);
    let first = site.ask("GET /", None);
    assert_eq!((first.status, first.visits()), (200, 1));
    let cookie = first.cookie();
    assert!(cookie.starts_with("axum=") && cookie.len() == "axum=".len() + 22);
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!("{cookie}; HttpOnly; SameSite=Lax; Path=/; Max-Age=1800")
    );
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert!(first.header("content-security-policy").is_some());

    let site = Site::start("axum", &[("ORIGIN", "https://example.org")]);
    let first = site.ask("GET /", None);
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!(
            "{}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=1800",
            first.cookie()
        )
    );
}

#[test]
fn axum_changes_the_id_at_login_and_keeps_the_data() {
    let site = Site::start("axum", &[]);
    let before = site.ask("GET /", None).cookie();
    let answer = site.post("/login", &before, "name=+%3CAda+%26%3E+");
    let after = answer.cookie();
    assert_ne!(after, before);
    let page = site.page(&after);
    assert!(page.contains("<h1>Hello, &lt;Ada &amp;></h1>"), "{page}");
    assert!(
        page.contains("<p role=status>Welcome, &lt;Ada &amp;>.</p>"),
        "{page}"
    );
    assert!(page.contains("<strong>2</strong>"), "{page}");
    assert!(!site.page(&after).contains("Welcome"));
    assert!(!site.page(&before).contains("Hello"));
}

#[test]
fn axum_rejects_invalid_names() {
    let site = Site::start("axum", &[]);
    let cookie = site.ask("GET /", None).cookie();
    for name in ["", "+++", "a%00b", &"x".repeat(41)] {
        let answer = site.post("/login", &cookie, &format!("name={name}"));
        assert_eq!((answer.status, answer.cookie()), (303, cookie.clone()));
        let page = site.page(&cookie);
        assert!(
            page.contains("A name has") && !page.contains("Hello"),
            "{page}"
        );
    }
    assert_eq!(site.rows("account_axum"), 0);
    let longest = "%C3%A4".repeat(40);
    let cookie = site.logged_in(&longest);
    assert!(site.page(&cookie).contains(&"ä".repeat(40)));
}

#[test]
fn axum_deletes_the_session_at_logout() {
    let site = Site::start("axum", &[]);
    let cookie = site.logged_in("Ada");
    let out = site.post("/logout", &cookie, "");
    assert_eq!(
        (out.status, out.header("location")),
        (303, Some("/goodbye"))
    );
    assert_eq!(out.cookie(), "axum=");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(site.rows("session_axum"), 0);
    let goodbye = site.ask("GET /goodbye", None);
    assert_eq!((goodbye.status, goodbye.header("set-cookie")), (200, None));

    let again = site.ask("GET /", Some(&cookie));
    assert_eq!(again.visits(), 1);
    assert!(!again.body.contains("Hello"));
    assert_ne!(again.cookie(), cookie);
}

#[test]
fn axum_can_log_out_all_other_sessions_of_the_same_user() {
    let site = Site::start("axum", &[]);
    let here = site.logged_in("Ada");
    let there = site.logged_in("Ada");
    let other = site.logged_in("Grace");
    let answer = site.post("/elsewhere", &here, "");
    let here = answer.cookie();
    let page = site.page(&here);
    assert!(page.contains("logged out everywhere else") && page.contains("Hello, Ada"));

    let ended = site.ask("GET /", Some(&there));
    assert!(
        ended
            .body
            .contains("You have been logged out from elsewhere."),
        "{}",
        ended.body
    );
    assert!(!ended.body.contains("Hello") && ended.visits() == 1);
    assert_ne!(ended.cookie(), there);
    assert!(!site.page(&there).contains("Hello"));
    assert!(site.page(&other).contains("Hello, Grace"));

    let there = site.logged_in("Ada");
    for cookie in [&here, &there] {
        assert!(site.page(cookie).contains("Hello, Ada"));
    }
    // A visitor who is not logged in cannot log out a user.
    let stranger = site.ask("GET /", None).cookie();
    assert_eq!(site.post("/elsewhere", &stranger, "").status, 303);
    assert!(site.page(&here).contains("Hello, Ada"));
}

#[test]
fn axum_rejects_post_requests_from_other_sites() {
    let site = Site::start("axum", &[]);
    let cookie = site.logged_in("Ada");
    site.assert_rejects_other_sites("/logout", &cookie);
    assert!(!site.page(&cookie).contains("Hello"));
}

#[test]
fn axum_changes_nothing_on_get_requests() {
    let site = Site::start("axum", &[]);
    let cookie = site.logged_in("Ada");
    for path in ["/login", "/logout", "/elsewhere", "/favicon.ico"] {
        let answer = site.ask(&format!("GET {path}"), Some(&cookie));
        assert!([404, 405].contains(&answer.status));
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert!(site.page(&cookie).contains("Hello, Ada"));
}

#[test]
fn axum_shows_no_details_if_the_store_fails() {
    let mut site = Site::start("axum", &[]);
    let cookie = site.logged_in("Ada");
    site.schema.run("DROP TABLE session_axum");
    for (request, cookie) in [
        ("GET /", None),
        ("GET /", Some(cookie.as_str())),
        ("POST /logout", Some(&cookie)),
    ] {
        let answer = site.ask(request, cookie);
        assert_eq!((answer.status, answer.header("set-cookie")), (500, None));
        assert!(answer.body.contains("Sorry") && !answer.body.contains("session_axum"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    site.signal("INT");
    assert!(site.end().success());
    let log = site.log();
    assert!(log.contains("\"session_axum\" does not exist"), "{log}");
    assert!(!log.contains(cookie.split_once('=').unwrap().1));
}
