//! The site with a login and a list of devices, which several examples serve with different frameworks.

use super::{
    Site,
    devices::{EDGE, FIREFOX, from, names},
};

/// An example that serves this site.
pub(super) struct Example {
    /// The name of the program, and of its cookie.
    pub(super) name: &'static str,
    pub(super) secure_cookie: &'static str,
    /// The settings of a site that browsers find at an `https` address.
    pub(super) secure_settings: &'static [(&'static str, &'static str)],
}

impl Example {
    pub(super) fn start(&self) -> Site {
        Site::start(self.name, &[])
    }
}

/// Adds a test of each property of the site for an example.
macro_rules! test_login_site {
    ($example:ident) => {
        crate::examples::login_site::test_login_site! {
            $example:
            sets_a_secure_cookie_unless_it_serves_http_on_this_machine,
            changes_the_key_at_login_and_keeps_the_data,
            rejects_invalid_names,
            deletes_the_session_at_logout,
            lists_the_devices_of_a_user,
            can_log_out_another_device,
            logs_out_by_the_handle_of_this_device,
            can_log_out_all_other_sessions_of_the_same_user,
            does_not_log_in_if_the_owner_cannot_be_set,
            rejects_post_requests_from_other_sites,
            changes_nothing_on_get_requests,
            shows_no_details_if_the_store_fails,
        }
    };
    ($example:ident: $($property:ident,)*) => {
        $(
            #[test]
            fn $property() {
                crate::examples::login_site::$property(&$example);
            }
        )*
    };
}
pub(super) use test_login_site;

impl Site {
    /// Returns the page for a visitor with this cookie.
    fn page(&self, cookie: &str) -> String {
        let answer = self.ask("GET /", Some(cookie));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Returns the number of sessions with an owner.
    fn owned(&self) -> i64 {
        self.rows(&format!("{} WHERE owner IS NOT NULL", self.table))
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

pub(super) fn sets_a_secure_cookie_unless_it_serves_http_on_this_machine(example: &Example) {
    let site = example.start();
    let first = site.ask("GET /", None);
    assert_eq!((first.status, first.visits()), (200, 1));
    let cookie = first.cookie();
    let key = cookie.strip_prefix(&format!("{}=", example.name)).unwrap();
    assert!(key.len() >= 22);
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!("{cookie}; HttpOnly; SameSite=Lax; Path=/; Max-Age=1800")
    );
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert!(first.header("content-security-policy").is_some());

    let site = Site::start(example.name, example.secure_settings);
    let first = site.ask("GET /", None);
    let cookie = first.cookie();
    assert!(cookie.starts_with(&format!("{}=", example.secure_cookie)));
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!("{cookie}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=1800")
    );
    assert_eq!(site.ask("GET /", Some(&cookie)).visits(), 2);
}

pub(super) fn changes_the_key_at_login_and_keeps_the_data(example: &Example) {
    let site = example.start();
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

pub(super) fn rejects_invalid_names(example: &Example) {
    let site = example.start();
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

pub(super) fn deletes_the_session_at_logout(example: &Example) {
    let site = example.start();
    let cookie = site.logged_in("Ada");
    let out = site.post("/logout", &cookie, "");
    assert_eq!(
        (out.status, out.header("location")),
        (303, Some("/goodbye"))
    );
    assert_eq!(out.cookie(), format!("{}=", example.name));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(site.rows(&site.table), 0);
    let goodbye = site.ask("GET /goodbye", None);
    assert_eq!((goodbye.status, goodbye.header("set-cookie")), (200, None));

    let again = site.ask("GET /", Some(&cookie));
    assert_eq!(again.visits(), 1);
    assert!(!again.body.contains("Hello"));
    assert_ne!(again.cookie(), cookie);
}

pub(super) fn lists_the_devices_of_a_user(example: &Example) {
    let site = example.start();
    let laptop = site.logged_in_with(FIREFOX, "Ada");
    let tablet = site.logged_in_with(EDGE, "Ada");
    let other = site.logged_in_with("curl/8.5", "Grace");
    site.schema.run(&format!(
        "UPDATE {} SET created_at = now() - interval '3 hours'
             WHERE session_data LIKE '%Firefox%'",
        site.table
    ));
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

pub(super) fn can_log_out_another_device(example: &Example) {
    let site = example.start();
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

pub(super) fn logs_out_by_the_handle_of_this_device(example: &Example) {
    let site = example.start();
    let cookie = site.logged_in("Ada");
    let here = site.devices(&cookie).remove(0);
    let answer = site.log_out_device(&cookie, &here.handle);
    assert_eq!(answer.header("location"), Some("/goodbye"));
    assert_eq!(answer.cookie(), format!("{}=", example.name));
    assert_eq!(site.rows(&site.table), 0);
    assert_eq!(site.log_out_device(&cookie, &here.handle).status, 303);
}

pub(super) fn can_log_out_all_other_sessions_of_the_same_user(example: &Example) {
    let site = example.start();
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

pub(super) fn does_not_log_in_if_the_owner_cannot_be_set(example: &Example) {
    let site = example.start();
    let cookie = site.ask("GET /", None).cookie();
    site.schema.run(&format!(
        "ALTER TABLE {} DROP COLUMN owner CASCADE",
        site.table
    ));
    let answer = site.post("/login", &cookie, "name=Ada");
    assert_eq!((answer.status, answer.header("set-cookie")), (500, None));
    let of_ada = format!("{} WHERE session_data LIKE '%Ada%'", site.table);
    assert_eq!(site.rows(&of_ada), 0);
}

pub(super) fn rejects_post_requests_from_other_sites(example: &Example) {
    let site = example.start();
    let cookie = site.logged_in("Ada");
    site.assert_rejects_other_sites("/logout", &cookie);
    assert!(!site.page(&cookie).contains("Hello"));
}

pub(super) fn changes_nothing_on_get_requests(example: &Example) {
    let site = example.start();
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

pub(super) fn shows_no_details_if_the_store_fails(example: &Example) {
    let mut site = example.start();
    let cookie = site.logged_in("Ada");
    site.schema.run(&format!("DROP TABLE {}", site.table));
    for (request, cookie) in [
        ("GET /", None),
        ("GET /", Some(cookie.as_str())),
        ("POST /logout", Some(&cookie)),
    ] {
        let answer = site.ask(request, cookie);
        assert_eq!((answer.status, answer.header("set-cookie")), (500, None));
        assert!(answer.body.contains("Sorry") && !answer.body.contains(&site.table));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    site.signal("INT");
    assert!(site.end().success());
    let log = site.log();
    let reason = format!("\"{}\" does not exist", site.table);
    assert!(log.contains(&reason), "{log}");
    assert!(!log.contains(cookie.split_once('=').unwrap().1));
}
