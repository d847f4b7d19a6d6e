//! `examples/blocking.rs`.

use super::{
    Answer, Site,
    devices::{EDGE, FIREFOX, from, names},
    program::command,
};
use crate::support::wait_until;

const ADA: &str = "name=ada&password=lobster";
const GRACE: &str = "name=grace&password=crab";

impl Site {
    /// Returns the cookie of a visitor who was sent to the login.
    fn guest(&self) -> String {
        let answer = self.ask("GET /", None);
        assert_eq!(answer.goes_to(), "/login");
        answer.cookie()
    }

    fn log_in(&self, browser: &str, form: &str) -> String {
        let answer = self.post("/login", &from(browser, &self.guest()), form);
        assert_eq!(answer.goes_to(), "/");
        answer.cookie()
    }

    /// Whether a visitor with this cookie is logged in.
    fn is_logged_in(&self, cookie: &str) -> bool {
        self.ask("GET /", Some(cookie)).body.contains("<h1>Hello, ")
    }

    fn sessions(&self) -> i64 {
        self.rows("session_blocking")
    }
}

impl Answer {
    fn goes_to(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.body);
        self.header("location").unwrap()
    }
}

#[test]
fn blocking_sets_a_cookie_that_only_its_own_pages_can_use() {
    let site = Site::start("blocking", &[]);
    let first = site.ask("GET /", None);
    let cookie = first.cookie();
    assert!(cookie.starts_with("blocking=") && cookie.len() == "blocking=".len() + 40);
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!("{cookie}; HttpOnly; SameSite=Lax; Path=/; Max-Age=43200")
    );
    assert_eq!(first.header("cache-control"), Some("no-store"));
    let login = site.ask("GET /login", Some(&cookie));
    assert_eq!((login.status, login.header("set-cookie")), (200, None));
    assert!(login.header("content-security-policy").is_some());

    let site = Site::start("blocking", &[("ORIGIN", "https://example.org")]);
    let first = site.ask("GET /", None);
    let cookie = first.cookie();
    assert!(cookie.starts_with("__Host-blocking="));
    assert_eq!(
        first.header("set-cookie").unwrap(),
        format!("{cookie}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=43200")
    );
    let login = site.post("/login", &cookie, ADA);
    assert!(site.is_logged_in(&login.cookie()));
    assert!(!site.is_logged_in(&login.cookie().replace("__Host-", "")));
}

#[test]
fn blocking_changes_the_key_at_login_and_returns_to_the_page() {
    let site = Site::start("blocking", &[]);
    let asked = site.ask("GET /devices", None);
    assert_eq!(asked.goes_to(), "/login");
    let before = asked.cookie();
    let login = site.post("/login", &from(FIREFOX, &before), ADA);
    assert_eq!(login.goes_to(), "/devices");
    let after = login.cookie();
    assert_ne!(after, before);
    assert_eq!(site.sessions(), 1);
    assert_eq!(names(&site.devices(&after)), ["Firefox on Linux"]);
    assert!(site.ask("GET /", Some(&after)).body.contains("Hello, ada"));
    assert!(!site.is_logged_in(&before));

    let (_, key) = after.split_once('=').unwrap();
    let of_ada = "session_blocking WHERE owner = 'ada'";
    assert_eq!(site.rows(of_ada), 1);
    let as_text = format!("{of_ada} AND session_blocking::text LIKE '%{key}%'");
    assert_eq!(site.rows(&as_text), 0, "the table contains the key");
}

#[test]
fn blocking_logs_in_without_a_session() {
    let site = Site::start("blocking", &[]);
    for cookie in [
        "",
        "blocking=two words",
        &format!("blocking={}", "x".repeat(40)),
    ] {
        let login = site.post("/login", cookie, ADA);
        assert_eq!(login.goes_to(), "/");
        assert!(site.is_logged_in(&login.cookie()));
        assert_ne!(login.cookie(), cookie);
    }
}

#[test]
fn blocking_rejects_wrong_passwords() {
    let site = Site::start("blocking", &[]);
    let cookie = site.guest();
    for form in [
        "name=ada&password=crab",
        "name=ada&password=",
        "name=ada",
        "name=&password=",
        "",
        &format!("{ADA}&more={}", "x".repeat(1_024)),
    ] {
        let answer = site.post("/login", &cookie, form);
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None));
        assert!(answer.body.contains("<p role=alert>"), "{}", answer.body);
    }
    assert!(!site.is_logged_in(&cookie));
}

#[test]
fn blocking_lists_the_devices_of_a_user() {
    let site = Site::start("blocking", &[]);
    let laptop = site.log_in(FIREFOX, ADA);
    let tablet = site.log_in(EDGE, ADA);
    let other = site.log_in("curl/8.5", GRACE);
    site.schema.run(
        "UPDATE session_blocking SET created_at = now() - interval '3 hours'
             WHERE session_data LIKE '%Firefox%'",
    );
    for (cookie, here) in [(&tablet, 0), (&laptop, 1)] {
        let devices = site.devices(cookie);
        assert_eq!(names(&devices), ["Edge on Windows", "Firefox on Linux"]);
        assert_eq!(devices[1].age, "3 hours");
        for (row, device) in devices.iter().enumerate() {
            assert_eq!(device.is_here, row == here);
            assert!(["29 minutes", "30 minutes"].contains(&device.left.as_str()));
        }
    }
    assert_eq!(names(&site.devices(&other)), ["Unknown browser"]);
}

#[test]
fn blocking_can_log_out_another_device() {
    let site = Site::start("blocking", &[]);
    let there = site.log_in(EDGE, ADA);
    let here = site.log_in(FIREFOX, ADA);
    let other = site.log_in(FIREFOX, GRACE);
    let (mine, theirs) = (site.devices(&here), site.devices(&other));
    // A user cannot log out another one. A handle comes from a form, so it can be anything.
    for handle in [&theirs[0].handle, "", "a%00b", "%FF", &"0".repeat(32)] {
        assert_eq!(site.log_out_device(&here, handle).goes_to(), "/devices");
    }
    assert_eq!(site.sessions(), 3);

    site.log_out_device(&here, &mine[1].handle);
    assert_eq!(names(&site.devices(&here)), ["Firefox on Linux"]);
    assert!(!site.is_logged_in(&there));
    assert!(site.is_logged_in(&other));
    // A visitor who is not logged in cannot log out a user.
    let answer = site.log_out_device(&site.guest(), &mine[0].handle);
    assert_eq!(answer.goes_to(), "/devices");
    assert!(site.is_logged_in(&here));
}

#[test]
fn blocking_can_log_out_everywhere_else() {
    let site = Site::start("blocking", &[]);
    let there = [site.log_in(EDGE, ADA), site.log_in(FIREFOX, ADA)];
    let here = site.log_in(FIREFOX, ADA);
    let other = site.log_in(FIREFOX, GRACE);
    let stranger = site.guest();
    assert_eq!(site.post("/elsewhere", &stranger, "").status, 303);
    assert_eq!(site.devices(&here).len(), 3);

    assert_eq!(site.post("/elsewhere", &here, "").goes_to(), "/devices");
    assert_eq!(site.devices(&here).len(), 1);
    assert!(there.iter().all(|cookie| !site.is_logged_in(cookie)));
    assert!(site.is_logged_in(&here) && site.is_logged_in(&other));
}

#[test]
fn blocking_deletes_the_session_at_logout() {
    let site = Site::start("blocking", &[]);
    let cookie = site.log_in(FIREFOX, ADA);
    for sent in [&cookie, &cookie, ""] {
        let out = site.post("/logout", sent, "");
        assert_eq!(
            (out.goes_to(), out.cookie().as_str()),
            ("/login", "blocking=")
        );
        assert!(out.header("set-cookie").unwrap().contains("; Max-Age=0"));
        assert_eq!(site.sessions(), 0);
    }
    assert!(!site.is_logged_in(&cookie));
}

#[test]
fn blocking_renews_a_session_at_each_request_until_it_is_12_hours_old() {
    let site = Site::start("blocking", &[]);
    let cookie = site.log_in(FIREFOX, ADA);
    let change = |sql: &str| {
        site.schema
            .run(&format!("UPDATE session_blocking SET {sql}"))
    };
    change("expire_date = now() + interval '1 minute'");
    assert!(site.is_logged_in(&cookie));
    let renewed = "session_blocking WHERE expire_date > now() + interval '29 minutes'";
    assert_eq!(site.rows(renewed), 1);

    change("created_at = now() - interval '11 hours 50 minutes'");
    let left = site.devices(&cookie).remove(0).left;
    assert!(
        ["9 minutes", "10 minutes"].contains(&left.as_str()),
        "{left}"
    );
    change("created_at = now() - interval '12 hours'");
    assert!(!site.is_logged_in(&cookie));

    let cookie = site.log_in(FIREFOX, ADA);
    change("expire_date = now() - interval '1 second'");
    assert!(!site.is_logged_in(&cookie));
}

#[test]
fn blocking_rejects_post_requests_from_other_sites() {
    let site = Site::start("blocking", &[]);
    let cookie = site.log_in(FIREFOX, ADA);
    site.assert_rejects_other_sites("/logout", &cookie);
    assert_eq!(site.sessions(), 0);
}

#[test]
fn blocking_changes_nothing_on_other_requests() {
    let site = Site::start("blocking", &[]);
    let cookie = site.log_in(FIREFOX, ADA);
    for request in [
        "GET /logout",
        "GET /elsewhere",
        "GET /devices/logout",
        "GET /favicon.ico",
        "POST /",
        "POST /devices",
        "PUT /logout",
    ] {
        let answer = site.ask(request, Some(&cookie));
        assert_eq!((answer.status, answer.header("set-cookie")), (404, None));
    }
    assert_eq!(site.ask("HEAD /", Some(&cookie)).status, 200);
    assert!(site.is_logged_in(&cookie));
}

#[test]
fn blocking_answers_other_requests_while_one_waits() {
    let site = Site::start("blocking", &[]);
    let cookie = site.log_in(FIREFOX, ADA);
    let mut client = site.schema.client();
    let mut lock = client.transaction().unwrap();
    lock.execute("SELECT FROM session_blocking FOR UPDATE", &[])
        .unwrap();
    let waiting = site.send("POST /logout", Some(&cookie), "");
    wait_until("the logout waits for the row", || {
        let sql =
            "SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))";
        !lock.query(sql, &[]).unwrap().is_empty()
    });
    site.log_in(EDGE, GRACE);
    // A renewal does not wait for the lock.
    assert!(site.is_logged_in(&cookie));
    lock.commit().unwrap();
    assert_eq!(Answer::read(waiting).goes_to(), "/login");
    assert!(!site.is_logged_in(&cookie));
}

#[test]
fn blocking_shows_no_details_if_the_store_fails() {
    let mut site = Site::start("blocking", &[]);
    let cookie = site.log_in(FIREFOX, ADA);
    site.schema.run("DROP TABLE session_blocking");
    for (request, cookie) in [
        ("GET /", None),
        ("GET /", Some(cookie.as_str())),
        ("POST /logout", Some(&cookie)),
    ] {
        let answer = site.ask(request, cookie);
        assert_eq!((answer.status, answer.header("set-cookie")), (500, None));
        assert!(answer.body.contains("Sorry") && !answer.body.contains("session_blocking"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    site.signal("TERM");
    site.end();
    let log = site.log();
    assert_eq!(
        log.matches("\"session_blocking\" does not exist").count(),
        3
    );
    assert!(!log.contains(cookie.split_once('=').unwrap().1));
}

#[test]
fn blocking_reports_that_its_port_is_in_use() {
    let site = Site::start("blocking", &[]);
    let second = command("blocking")
        .env("LISTEN", site.address.to_string())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert!(stderr.contains(&format!("cannot listen on {}", site.address)));
}
