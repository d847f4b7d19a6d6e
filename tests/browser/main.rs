//! The examples in a real browser: Chromium in headless mode.
//!
//! Run it with `tests/with-postgres cargo test --features actix-session,tower-sessions --test browser`. If
//! there is no working Chromium, the test is skipped and says so.
//!
//! The environment variable `CHROMIUM` selects the program. `SCREENSHOTS` names a directory for screenshots. `AXE` names
//! the script axe-core, which checks the accessibility of each page; `tests/with-axe COMMAND` downloads it and sets
//! `AXE`.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod axe;
mod chromium;
#[path = "../it/examples/program.rs"]
mod program;

use std::{
    env,
    os::unix::process::ExitStatusExt,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use throwaway_postgres::Server;

use self::{
    axe::Axe,
    chromium::{Chromium, Visitor},
    program::Program,
};

fn main() {
    let axe = Axe::read();
    if axe.is_none() {
        println!("accessibility: skipped: AXE is not set");
    }
    let browser = match Chromium::start(axe) {
        Ok(browser) => browser,
        Err(why) => return println!("skipped: {why}"),
    };
    // Cargo builds the examples if all tests are run, but not if only this one is. With the same features it
    // does not build the library again.
    let optional = [
        ("metrics", cfg!(feature = "metrics")),
        ("rustls", cfg!(feature = "rustls")),
        ("tls", cfg!(feature = "tls")),
        ("tower-sessions-0-14", cfg!(feature = "tower-sessions-0-14")),
        ("tracing", cfg!(feature = "tracing")),
    ];
    let optional = optional.iter().filter(|(_, is_on)| *is_on);
    let features: Vec<_> = ["actix-session", "tower-sessions"]
        .into_iter()
        .chain(optional.map(|(feature, _)| *feature))
        .collect();
    let build = ["build", "--quiet", "--examples", "--features"];
    let built = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(build)
        .arg(features.join(","))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success());
    // Without this, a crash of the server may lose commits.
    let server = Server::builder().setting("synchronous_commit", "on");
    let server = server.start().unwrap();
    for (name, test) in [
        ("counter", counter as fn(&Chromium, &mut Site)),
        ("axum", login_site),
        ("actix", login_site),
        ("blocking", blocking),
    ] {
        let mut site = Site::start(name, &server);
        test(&browser, &mut site);
        site.end_program();
        println!("{name}: ok");
    }
}

/// An example that runs, and the database server with its sessions.
struct Site<'a> {
    name: &'a str,
    program: Program,
    server: &'a Server,
}

impl<'a> Site<'a> {
    fn start(name: &'a str, server: &'a Server) -> Site<'a> {
        let program = Program::start(name, server.url(), &[]);
        assert_eq!(program.announced, "");
        Site {
            name,
            program,
            server,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.program.address)
    }

    /// Ends the program, which must have logged nothing.
    fn end_program(&mut self) {
        self.program.signal("TERM");
        let status = self.program.end();
        // The example `blocking` does not catch the signal.
        let is_killed = self.name == "blocking" && status.signal() == Some(15);
        assert!(status.success() || is_killed, "{status}");
        assert_eq!(self.program.log(), "");
    }

    fn restart_program(&mut self) {
        self.end_program();
        let address = self.program.address.to_string();
        self.program = Program::start(self.name, self.server.url(), &[("LISTEN", &address)]);
    }

    /// Restarts the web server, then the database server, then both.
    fn restart_all(&mut self, mut check: impl FnMut()) {
        self.restart_program();
        check();
        self.server.restart().unwrap();
        check();
        self.server.stop().unwrap();
        self.server.start_again().unwrap();
        self.restart_program();
        check();
    }
}

/// Checks the attributes of the cookie in the browser: scripts and other sites cannot use it. `max_age` is in seconds.
fn check_cookie(visitor: &Visitor<'_>, name: &str, max_age: f64) -> Value {
    let cookie = visitor.cookie().expect("a cookie");
    assert_eq!(cookie["name"], name);
    assert_eq!(cookie["httpOnly"], true);
    assert_eq!(cookie["sameSite"], "Lax");
    assert_eq!(cookie["path"], "/");
    assert_eq!(cookie["domain"], "127.0.0.1");
    // The example serves only HTTP on this machine.
    assert_eq!(cookie["secure"], false);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let age = cookie["expires"].as_f64().unwrap() - now.as_secs_f64();
    assert!((max_age - 100.0..=max_age + 1.0).contains(&age), "{age} s");
    assert_eq!(visitor.cookies_in_scripts(), "");
    cookie
}

/// Lets another site make the visitor send a POST request to this site, which must reject it. Afterwards the
/// visitor is on this site.
fn forge_request(visitor: &Visitor<'_>, site: &Site<'_>, path: &str, field: &str) {
    let cookie = visitor.cookie();
    visitor.open(&format!(
        "data:text/html,<form method=post action={}{path}>{field}<button>Win</button></form>",
        site.url()
    ));
    visitor.click("Win");
    assert!(visitor.shows("Another site has sent you."), "{path}");
    assert_eq!(visitor.cookie(), cookie, "{path}");
    visitor.click("Go on");
}

fn counter(browser: &Chromium, site: &mut Site<'_>) {
    let visitor = browser.visitor();
    visitor.open(&site.url());
    assert_eq!(visitor.count(), 1);
    visitor.screenshot("counter");
    let first = check_cookie(&visitor, "counter", 1800.0);
    visitor.reload();
    assert_eq!(visitor.count(), 2);
    visitor.click("Visit again");
    assert_eq!(visitor.count(), 3);
    let mut visits = 3;
    site.restart_all(|| {
        visits += 1;
        visitor.reload();
        assert_eq!(visitor.count(), visits);
    });

    visitor.click("Change key");
    assert_eq!((visitor.path().as_str(), visitor.count()), ("/", 7));
    let second = check_cookie(&visitor, "counter", 1800.0);
    assert_ne!(first["value"], second["value"]);
    let other = browser.visitor();
    other.open(&site.url());
    assert_eq!(other.count(), 1);

    for path in ["rotate", "logout"] {
        forge_request(&visitor, site, path, "");
    }
    assert_eq!(visitor.count(), 9);

    visitor.click("Log out");
    assert_eq!(visitor.path(), "/goodbye");
    assert!(visitor.shows("Your session is gone."));
    assert_eq!(visitor.cookie(), None);
    for gone in [first, second] {
        visitor.put_cookie(&gone);
        visitor.open(&site.url());
        assert_eq!(visitor.count(), 1);
    }
}

/// The examples `axum` and `actix`.
fn login_site(browser: &Chromium, site: &mut Site<'_>) {
    let name = site.name;
    let visitor = browser.visitor();
    visitor.open(&site.url());
    assert_eq!(visitor.count(), 1);
    visitor.screenshot(&format!("{name}-out"));
    let before = check_cookie(&visitor, name, 1800.0);

    let user = "Ada <b>& Co</b>";
    let hello = format!("Hello, {user}");
    visitor.enter("name", user);
    visitor.click("Log in");
    assert!(visitor.shows(&hello) && visitor.shows(&format!("Welcome, {user}.")));
    assert_eq!(visitor.count(), 2);
    visitor.screenshot(&format!("{name}-in"));
    let cookie = check_cookie(&visitor, name, 1800.0);
    assert_ne!(before["value"], cookie["value"]);
    visitor.reload();
    assert!(visitor.shows(&hello) && !visitor.shows("Welcome"));
    assert_eq!(visitor.count(), 3);
    let mut visits = 3;
    site.restart_all(|| {
        visits += 1;
        visitor.reload();
        assert!(visitor.shows(&hello));
        assert_eq!(visitor.count(), visits);
    });

    for (path, field) in [
        ("logout", ""),
        ("login", "<input name=name value=Mallory>"),
        ("elsewhere", ""),
        ("devices/logout", ""),
    ] {
        forge_request(&visitor, site, path, field);
        assert!(visitor.shows(&hello) && !visitor.shows("Welcome"));
    }
    // The visitor is still logged in after following a link from another site.
    visitor.open(&format!("data:text/html,<a href={}>Read</a>", site.url()));
    visitor.click("Read");
    assert!(visitor.shows(&hello));

    let log_in = || {
        let elsewhere = browser.visitor();
        elsewhere.open(&site.url());
        elsewhere.enter("name", user);
        elsewhere.click("Log in");
        let cookie = elsewhere.cookie().unwrap();
        (elsewhere, cookie)
    };
    let is_logged_out = |(elsewhere, cookie): &(Visitor<'_>, Value)| {
        elsewhere.reload();
        assert!(!elsewhere.shows(&hello));
        assert_eq!(elsewhere.count(), 1);
        elsewhere.put_cookie(cookie);
        elsewhere.reload();
        assert!(!elsewhere.shows(&hello));
    };
    let (first, second) = (log_in(), log_in());
    visitor.click("Your devices");
    check_devices(&visitor, name, 2);
    visitor.click("Log out");
    assert!(visitor.shows("That device is logged out."));
    check_devices(&visitor, name, 1);
    is_logged_out(&second);
    visitor.click("Log out everywhere else");
    assert!(visitor.shows("You are logged out everywhere else."));
    check_devices(&visitor, name, 0);
    is_logged_out(&first);
    visitor.click("Back");
    assert!(visitor.shows(&hello));

    let last = check_cookie(&visitor, name, 1800.0);
    visitor.click("Log out");
    assert_eq!(visitor.path(), "/goodbye");
    assert!(visitor.shows("Your session is gone."));
    visitor.screenshot(&format!("{name}-goodbye"));
    assert_eq!(visitor.cookie(), None);
    for gone in [before, cookie, last] {
        visitor.put_cookie(&gone);
        visitor.open(&site.url());
        assert!(!visitor.shows(&hello));
        assert_eq!(visitor.count(), 1);
    }
}

/// Checks the page "Your devices", with this device and some others.
fn check_devices(visitor: &Visitor<'_>, name: &str, others: usize) {
    assert_eq!(visitor.path(), "/devices");
    assert!(visitor.shows("This device"));
    let mut expected = vec!["Log out Chrome on Linux"; others];
    expected.push("Log out here Chrome on Linux This device");
    expected.push("Log out everywhere else");
    expected.sort_unstable();
    assert_eq!(visitor.announced_buttons(), expected);
    visitor.screenshot(&format!("{name}-devices-{others}"));
}

fn blocking(browser: &Chromium, site: &mut Site<'_>) {
    const HOURS_12: f64 = 43_200.0;
    let log_in = |visitor: &Visitor<'_>, password: &str| {
        visitor.enter("name", "ada");
        visitor.enter("password", password);
        visitor.click("Log in");
    };
    let visitor = browser.visitor();
    visitor.open(&format!("{}devices", site.url()));
    assert_eq!(visitor.path(), "/login");
    visitor.screenshot("blocking-login");
    let before = check_cookie(&visitor, "blocking", HOURS_12);
    log_in(&visitor, "crab");
    assert!(visitor.shows("The name or the password is wrong."));
    log_in(&visitor, "lobster");
    check_devices(&visitor, "blocking", 0);
    let cookie = check_cookie(&visitor, "blocking", HOURS_12);
    assert_ne!(before["value"], cookie["value"]);
    visitor.click("Back");
    site.restart_all(|| {
        visitor.reload();
        assert!(visitor.shows("Hello, ada"));
    });
    for path in ["logout", "login", "elsewhere", "devices/logout"] {
        forge_request(&visitor, site, path, "");
        assert!(visitor.shows("Hello, ada"));
    }

    let others = [browser.visitor(), browser.visitor()];
    for other in &others {
        other.open(&site.url());
        log_in(other, "lobster");
        assert!(other.shows("Hello, ada"));
    }
    visitor.click("Your devices");
    check_devices(&visitor, "blocking", 2);
    visitor.click("Log out");
    check_devices(&visitor, "blocking", 1);
    visitor.click("Log out everywhere else");
    check_devices(&visitor, "blocking", 0);
    for other in &others {
        other.reload();
        assert_eq!(other.path(), "/login");
    }
    visitor.click("Log out here");
    assert_eq!(visitor.path(), "/login");
    assert_eq!(visitor.cookie(), None);
    for gone in [before, cookie] {
        visitor.put_cookie(&gone);
        visitor.open(&site.url());
        assert_eq!(visitor.path(), "/login");
    }
}
