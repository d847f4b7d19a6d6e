//! `examples/axum.rs`.

use super::{
    Site,
    devices::{EDGE, FIREFOX, from, names},
};

impl Site {
    /// Returns the page for a visitor with this cookie.
    fn page(&self, cookie: &str) -> String {
        let answer = self.ask("GET /", Some(cookie));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Returns the number of sessions with an owner.
    fn owned(&self) -> i64 {
        self.rows("session_axum WHERE owner IS NOT NULL")
    }

    /// Returns the cookie of a visitor who has logged in.
    fn logged_in(&self, name: &str) -> String {
        self.logged_in_with("", name)
    }

    fn logged_in_with(&self, browser: &str, name: &str) -> String {
        let first = self.ask("GET /", None).cookie();
        let answer = self.post("/login", &from(browser, &first), &format!("name={name}"));
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
    assert_eq!(site.owned(), 0);
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
fn axum_lists_the_devices_of_a_user() {
    let site = Site::start("axum", &[]);
    let laptop = site.logged_in_with(FIREFOX, "Ada");
    let tablet = site.logged_in_with(EDGE, "Ada");
    let other = site.logged_in_with("curl/8.5", "Grace");
    site.schema.run(
        "UPDATE session_axum SET created_at = now() - interval '3 hours'
             WHERE session_data LIKE '%Firefox%'",
    );
    for (cookie, here) in [(&tablet, 0), (&laptop, 1)] {
        let devices = site.devices(cookie);
        assert_eq!(names(&devices), ["Edge on Windows", "Firefox on Linux"]);
        assert_eq!(devices[1].age, "3 hours");
        for (row, device) in devices.iter().enumerate() {
            assert_eq!(device.is_here, row == here);
            assert!(["29 minutes", "30 minutes"].contains(&device.left.as_str()));
            assert_eq!(device.handle.len(), 32);
        }
    }
    assert_eq!(names(&site.devices(&other)), ["Unknown browser"]);

    let stranger = site.ask("GET /", None).cookie();
    for cookie in [None, Some(stranger.as_str())] {
        let answer = site.ask("GET /devices", cookie);
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    }
}

#[test]
fn axum_can_log_out_another_device() {
    let site = Site::start("axum", &[]);
    let there = site.logged_in_with(EDGE, "Ada");
    let here = site.logged_in_with(FIREFOX, "Ada");
    let other = site.logged_in("Grace");
    let (mine, theirs) = (site.devices(&here), site.devices(&other));
    // A user cannot log out another one. A handle comes from a form, so it can be anything.
    for handle in [&theirs[0].handle, "", "a%00b", "%FF", &"0".repeat(32)] {
        site.log_out_device(&here, handle);
        let page = site.ask("GET /devices", Some(&here)).body;
        assert!(page.contains("was not logged in any more"), "{page}");
    }
    assert_eq!(site.owned(), 3);

    let answer = site.log_out_device(&here, &mine[1].handle);
    assert_eq!(answer.header("location"), Some("/devices"));
    let page = site.ask("GET /devices", Some(&here)).body;
    assert!(
        page.contains("<p role=status>That device is logged out."),
        "{page}"
    );
    assert_eq!(names(&site.devices(&here)), ["Firefox on Linux"]);
    let ended = site.ask("GET /", Some(&there));
    assert!(!ended.body.contains("Hello") && ended.visits() == 1);
    assert_ne!(ended.cookie(), there);
    assert!(site.page(&other).contains("Hello, Grace"));
}

#[test]
fn axum_logs_out_by_the_handle_of_this_device() {
    let site = Site::start("axum", &[]);
    let cookie = site.logged_in("Ada");
    let here = site.devices(&cookie).remove(0);
    let answer = site.log_out_device(&cookie, &here.handle);
    assert_eq!(answer.header("location"), Some("/goodbye"));
    assert_eq!(answer.cookie(), "axum=");
    assert_eq!(site.rows("session_axum"), 0);
    assert_eq!(site.log_out_device(&cookie, &here.handle).status, 303);
}

#[test]
fn axum_can_log_out_all_other_sessions_of_the_same_user() {
    let site = Site::start("axum", &[]);
    let here = site.logged_in("Ada");
    let there = site.logged_in("Ada");
    let other = site.logged_in("Grace");
    let answer = site.post("/elsewhere", &here, "");
    assert_eq!(answer.header("location"), Some("/devices"));
    let page = site.ask("GET /devices", Some(&here)).body;
    assert!(page.contains("logged out everywhere else"), "{page}");
    assert_eq!(site.devices(&here).len(), 1);

    let ended = site.ask("GET /", Some(&there));
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
fn axum_does_not_log_in_if_the_owner_cannot_be_set() {
    let site = Site::start("axum", &[]);
    let cookie = site.ask("GET /", None).cookie();
    site.schema
        .run("ALTER TABLE session_axum DROP COLUMN owner CASCADE");
    let answer = site.post("/login", &cookie, "name=Ada");
    assert_eq!((answer.status, answer.header("set-cookie")), (500, None));
    assert_eq!(site.rows("session_axum WHERE session_data LIKE '%Ada%'"), 0);
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
    for path in [
        "/login",
        "/logout",
        "/elsewhere",
        "/devices/logout",
        "/favicon.ico",
    ] {
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
