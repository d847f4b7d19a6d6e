//! A site with passwords and a list of the user's devices, in blocking code: tiny_http, and threads that share one
//! store.
//!
//! `tests/with-postgres cargo run --example blocking` starts a PostgreSQL server that stops with the program. If
//! `DATABASE_URL` is set, the example uses that database and keeps its sessions in the table `session_blocking`.
//! Log in as `ada` with the password `lobster`, or as `grace` with `crab`.
//!
//! The site listens on `LISTEN`, default `127.0.0.1:3000`. Browsers find it at `ORIGIN`, default `http://` and that
//! address. Outside of this machine it needs a proxy in front, such as nginx, for TLS and because a slow client could
//! occupy a thread. `ORIGIN` is then, for example, `https://example.org`.
//!
//! To copy this file into a project, replace the `Database`, and add the crates `cookie`, `form_urlencoded`, `serde`
//! with the feature `derive`, `serde_json`, `session-postgres` and `tiny_http`.

use std::{
    env, error::Error as StdError, io::Cursor, net::TcpListener, sync::Arc, thread, time::Duration,
};

use cookie::{Cookie, SameSite};
use serde::{Deserialize, Serialize};
use session_postgres::{
    Error, Key, OwnedSession, Period, PostgresStore, Pruner, SessionFields, Store,
};
use throwaway_postgres::Database;
use tiny_http::{Header, Method, Request, Response, Server};

/// A session ends this long after the last request.
const IDLE_TIMEOUT: Period = Period::minutes(30);
/// A session ends at this age, even if it is in use. The age counts from the first visit: a login does not restart it.
const MAX_AGE: Period = Period::hours(12);
/// The time limit of each call to the store.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Each thread answers one request at a time and uses at most one connection.
const THREADS: u32 = 8;
/// The largest size of a form in bytes. tiny_http itself receives forms of up to 1,024 bytes, so a slow client does
/// not occupy one of the threads.
const MAX_FORM: usize = 1_024;

/// The users and their passwords. A real site has a table of users with hashes of the passwords, for example by the
/// crate argon2, and limits the number of attempts.
const USERS: [(&str, &str); 2] = [("ada", "lobster"), ("grace", "crab")];

fn main() -> Result<(), Box<dyn StdError + Send + Sync>> {
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen).map_err(|error| {
        format!("cannot listen on {listen}: {error}; set LISTEN to another address")
    })?;
    let address = listener.local_addr()?;
    let origin = env::var("ORIGIN").unwrap_or_else(|_| format!("http://{address}"));

    let database = Database::open()?;
    let store = PostgresStore::builder()
        .table("session_blocking")?
        // A copy of the table, for example a backup, contains no keys that work.
        .hash_keys(true)
        .max_age(MAX_AGE)
        .timeout(TIMEOUT)
        .max_connections(THREADS)
        .connect(database.url())?;
    store.create_table()?;
    let store = Arc::new(store);
    // Removes the rows of expired sessions.
    let _pruner = Pruner::start(Arc::clone(&store));

    let site = Site {
        store,
        // Safari does not keep a `Secure` cookie of plain HTTP on this machine.
        is_secure: !(origin.starts_with("http://") && address.ip().is_loopback()),
        origin,
    };
    let server = Server::from_listener(listener, None)?;
    println!(
        "Listening on {address}. Open {}/ in a browser; Ctrl-C stops the program.",
        site.origin
    );
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| site.serve(&server));
        }
    });
    Err("the server accepts no more connections".into())
}

/// The state of all threads.
struct Site {
    store: Arc<PostgresStore>,
    /// Scheme, host and port of the site, as browsers see it.
    origin: String,
    is_secure: bool,
}

/// The value of a session.
#[derive(Serialize, Deserialize)]
enum Value {
    /// A visitor who has to log in, and then sees the page that was asked for.
    Guest {
        next: String,
    },
    User(User),
}

#[derive(Serialize, Deserialize)]
struct User {
    name: String,
    device: String,
}

enum Visitor {
    Unknown,
    Guest(Key, String),
    User(Key, User),
}

impl Site {
    fn serve(&self, server: &Server) {
        for mut request in server.incoming_requests() {
            let answer = self.answer(&mut request).unwrap_or_else(|e| failure(&e));
            // An error means that the client is gone.
            let _ = request.respond(answer.into_response());
        }
        // If one thread ends, the others end too.
        server.unblock();
    }

    fn answer(&self, request: &mut Request) -> Result<Answer, Error> {
        let path = request.url().split('?').next().unwrap_or_default();
        let path = path.to_owned();
        // Every change is a POST request, because those of other sites are rejected.
        match request.method() {
            Method::Get | Method::Head => match path.as_str() {
                "/" => self.front_page(request),
                "/login" => Ok(login_page(200, "")),
                "/devices" => self.devices(request),
                _ => Ok(not_found()),
            },
            Method::Post if !self.is_same_origin(request) => Ok(other_site()),
            Method::Post => match path.as_str() {
                "/login" => self.log_in(request),
                "/logout" => self.log_out(request),
                "/devices/logout" => self.log_out_device(request),
                "/elsewhere" => self.log_out_elsewhere(request),
                _ => Ok(not_found()),
            },
            _ => Ok(not_found()),
        }
    }

    fn front_page(&self, request: &Request) -> Result<Answer, Error> {
        match self.visitor(request)? {
            Visitor::User(_, user) => Ok(Answer::page(
                200,
                &format!(
                    "<h1>Hello, {}</h1>
                    <nav><a href=/devices>Your devices</a>
                    <form method=post action=/logout><button>Log out</button></form></nav>",
                    escape(&user.name)
                ),
            )),
            visitor => self.ask_to_log_in(&visitor, "/"),
        }
    }

    /// Sends the visitor to the login, and remembers the page in a session, where no other site can change it.
    fn ask_to_log_in(&self, visitor: &Visitor, next: &str) -> Result<Answer, Error> {
        let next = next.to_owned();
        let value = Value::Guest { next }.to_text();
        let answer = Answer::redirect("/login");
        if let Visitor::Guest(key, _) = visitor {
            self.store.set(key, &value, Some(IDLE_TIMEOUT))?;
            return Ok(answer);
        }
        let key = self.store.generate(Some(&value), Some(IDLE_TIMEOUT))?;
        Ok(answer.with("Set-Cookie", self.cookie(key.as_str()).to_string()))
    }

    fn log_in(&self, request: &mut Request) -> Result<Answer, Error> {
        let form = Form::read(request);
        let (name, password) = (form.get("name"), form.get("password"));
        if !USERS.contains(&(name, password)) {
            let message = "<p role=alert>The name or the password is wrong.</p>";
            return Ok(login_page(401, message));
        }
        let (old, next) = match self.visitor(request)? {
            Visitor::Unknown => (None, "/".to_owned()),
            Visitor::Guest(key, next) => (Some(key), next),
            Visitor::User(key, _) => (Some(key), "/".to_owned()),
        };
        let user = User {
            name: name.to_owned(),
            device: device_name(header(request, "User-Agent")),
        };
        let value = Value::User(user).to_text();
        let login = SessionFields {
            value: Some(&value),
            expiry: Some(IDLE_TIMEOUT),
            // A real site uses the id of the user, which never changes.
            owner: Some(name),
        };
        // The session gets a new key, so that a key which another person knows or has planted in the browser (session
        // fixation) is not logged in. Its owner and value change in the same step, so each login has an owner.
        let moved = match &old {
            Some(key) => self.store.rotate_with(key, login),
            None => Err(Error::NotFound),
        };
        let key = match moved {
            Err(Error::NotFound) => self.store.generate_with(login)?,
            moved => moved?,
        };
        let cookie = self.cookie(key.as_str()).to_string();
        Ok(Answer::redirect(&next).with("Set-Cookie", cookie))
    }

    fn log_out(&self, request: &Request) -> Result<Answer, Error> {
        // The cookie is removed last: if the store fails, the visitor can try again.
        if let Some(key) = self.key_of(request) {
            self.store.clear(&key)?;
        }
        let mut cookie = self.cookie("");
        cookie.make_removal();
        Ok(Answer::redirect("/login").with("Set-Cookie", cookie.to_string()))
    }

    /// Lists the sessions to which the user is logged in. The page contains handles, and never a key.
    fn devices(&self, request: &Request) -> Result<Answer, Error> {
        match self.visitor(request)? {
            Visitor::User(key, user) => {
                let devices = self.store.owned(&user.name)?;
                Ok(devices_page(&devices, &key.handle()))
            }
            visitor => self.ask_to_log_in(&visitor, "/devices"),
        }
    }

    fn log_out_device(&self, request: &mut Request) -> Result<Answer, Error> {
        let form = Form::read(request);
        if let Visitor::User(_, user) = self.visitor(request)? {
            // The handle of another user's session has no effect.
            self.store.clear_handle(&user.name, form.get("handle"))?;
        }
        Ok(Answer::redirect("/devices"))
    }

    fn log_out_elsewhere(&self, request: &Request) -> Result<Answer, Error> {
        if let Visitor::User(key, user) = self.visitor(request)? {
            self.store.clear_owned(&user.name, Some(&key))?;
        }
        Ok(Answer::redirect("/devices"))
    }

    /// Returns who sent the request, and restarts the idle timeout of the session.
    fn visitor(&self, request: &Request) -> Result<Visitor, Error> {
        let Some(key) = self.key_of(request) else {
            return Ok(Visitor::Unknown);
        };
        let session = match self.store.renew(&key, Some(IDLE_TIMEOUT)) {
            Err(Error::NotFound) => return Ok(Visitor::Unknown),
            session => session?,
        };
        Ok(match Value::parse(&session.value) {
            Some(Value::User(user)) => Visitor::User(key, user),
            Some(Value::Guest { next }) => Visitor::Guest(key, next),
            // An older version of the program has written it.
            None => Visitor::Unknown,
        })
    }

    /// Returns the key in the cookie. A text that cannot be a key is ignored without a query.
    fn key_of(&self, request: &Request) -> Option<Key> {
        Cookie::split_parse(header(request, "Cookie"))
            .flatten()
            .find(|cookie| cookie.name() == self.cookie("").name())
            .and_then(|cookie| cookie.value().parse().ok())
    }

    /// The cookie may live longer than the session, which the store ends.
    fn cookie<'a>(&self, value: &'a str) -> Cookie<'a> {
        // With this prefix, browsers accept the cookie only from this host, and only if it is Secure.
        let prefix = if self.is_secure { "__Host-" } else { "" };
        Cookie::build((format!("{prefix}blocking"), value))
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.is_secure)
            .path("/")
            .max_age(MAX_AGE)
            .build()
    }

    /// Whether no page of another site has sent this form (CSRF). Such requests come without a `SameSite=Lax` cookie,
    /// but the response could replace or remove the visitor's cookie.
    fn is_same_origin(&self, request: &Request) -> bool {
        match (header(request, "Sec-Fetch-Site"), header(request, "Origin")) {
            // Programs that are not browsers send neither.
            ("", "") => true,
            // Older browsers send only `Origin`.
            ("", origin) => origin == self.origin,
            (site, _) => site == "same-origin" || site == "none",
        }
    }
}

impl Value {
    fn parse(text: &str) -> Option<Value> {
        serde_json::from_str(text).ok()
    }

    fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// Returns the value of a header, or the empty string.
fn header<'a>(request: &'a Request, name: &'static str) -> &'a str {
    let mut headers = request.headers().iter();
    let found = headers.find(|header| header.field.equiv(name));
    found.map_or("", |header| header.value.as_str())
}

/// The fields of a form. A form that is too large has none.
struct Form(Vec<(String, String)>);

impl Form {
    fn read(request: &mut Request) -> Form {
        let mut body = Vec::new();
        if request.body_length().is_some_and(|size| size <= MAX_FORM) {
            // After an error the client is gone.
            let _ = request.as_reader().read_to_end(&mut body);
        }
        Form(form_urlencoded::parse(&body).into_owned().collect())
    }

    /// Returns a field, or the empty string.
    fn get(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(field, _)| field == name);
        field.map_or("", |(_, value)| value)
    }
}

/// Returns a name by which the user recognizes the device. It comes from the browser, so it can be false.
fn device_name(agent: &str) -> String {
    let find = |names: &[&'static str]| names.iter().find(|name| agent.contains(**name)).copied();
    // Chromium also calls itself Safari, Edge also Chrome, and Android also Linux.
    let browser = find(&["Firefox", "Edg", "Chrome", "Safari"]).unwrap_or("Unknown browser");
    let system = find(&["Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux"]);
    match system {
        Some(system) => format!("{} on {system}", browser.replace("Edg", "Edge")),
        None => browser.to_owned(),
    }
}

/// A response. Its headers are ASCII.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    /// Each page is for one visitor, so it must not be cached. The pages load nothing and run no scripts.
    fn page(status: u16, body: &str) -> Answer {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";
        let body = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>Blocking</title>
            <meta name=viewport content='width=device-width'><style>{STYLE}</style><main>{body}</main>"
        );
        let answer = Answer {
            status,
            headers: Vec::new(),
            body,
        };
        answer
            .with("Content-Type", "text/html; charset=utf-8".to_owned())
            .with("Content-Security-Policy", policy.to_owned())
            .with("Cache-Control", "no-store".to_owned())
    }

    fn redirect(to: &str) -> Answer {
        let answer = Answer {
            status: 303,
            headers: Vec::new(),
            body: String::new(),
        };
        answer
            .with("Location", to.to_owned())
            .with("Cache-Control", "no-store".to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Answer {
        self.headers.push((name, value));
        self
    }

    fn into_response(self) -> Response<Cursor<Vec<u8>>> {
        let mut response = Response::from_data(self.body).with_status_code(self.status);
        for (name, value) in self.headers {
            if let Ok(header) = Header::from_bytes(name, value) {
                response.add_header(header);
            }
        }
        response
    }
}

fn login_page(status: u16, message: &str) -> Answer {
    Answer::page(
        status,
        &format!(
            "<h1>Log in</h1>{message}<form method=post action=/login>
            <label for=name>Name</label>
            <input id=name name=name required autocomplete=username>
            <label for=password>Password</label>
            <input id=password name=password type=password required autocomplete=current-password>
            <button>Log in</button></form>
            <p><small>Try ada with the password lobster, or grace with crab.</small></p>"
        ),
    )
}

/// `here` is the handle of the visitor's session.
fn devices_page(devices: &[OwnedSession], here: &str) -> Answer {
    let rows = devices.iter().enumerate().map(|(row, device)| {
        let name = match device.value.as_deref().and_then(Value::parse) {
            Some(Value::User(user)) => user.device,
            _ => "Unknown device".to_owned(),
        };
        let name = escape(&name);
        let age = device.age.map_or("unknown".to_owned(), in_words);
        let left = in_words(device.period);
        let handle = &device.handle;
        let (mark, action, button) = match device.handle == here {
            true => ("<small>This device</small>", "/logout", "Log out here"),
            false => ("", "/devices/logout", "Log out"),
        };
        // A screen reader announces the name of the device with the button.
        format!(
            "<tr><th scope=row id=device-{row}>{name}{mark}</th><td>{age}</td><td>{left}</td>
            <td><form method=post action={action}>
            <input type=hidden name=handle value={handle}>
            <button id=button-{row} aria-labelledby='button-{row} device-{row}'>{button}</button>
            </form></td></tr>"
        )
    });
    Answer::page(
        200,
        &format!(
            "<h1 id=devices>Your devices</h1><table aria-labelledby=devices>
            <thead><tr><th scope=col>Device</th><th scope=col>Age</th>
            <th scope=col>Ends in</th><th scope=col>Action</th></tr></thead>
            <tbody>{}</tbody></table>
            <nav><a href=/>Back</a>
            <form method=post action=/elsewhere><button>Log out everywhere else</button></form></nav>",
            rows.collect::<String>()
        ),
    )
}

fn not_found() -> Answer {
    Answer::page(404, "<h1>Not found</h1><nav><a href=/>Go on</a></nav>")
}

fn other_site() -> Answer {
    let body = "<h1>Sorry</h1><p>Another site has sent you.</p><nav><a href=/>Go on</a></nav>";
    Answer::page(403, body)
}

/// Shows an error to the visitor without details.
fn failure(error: &Error) -> Answer {
    let (status, text) = match error {
        // The session has ended during the request.
        Error::NotFound => return Answer::redirect("/login"),
        Error::TimedOut { .. } | Error::Disconnected(_) => (503, "Please wait a moment."),
        _ => (500, "This did not work."),
    };
    // Errors never contain keys or values, so they can be logged.
    eprintln!("blocking: {error}");
    let body = format!("<h1>Sorry</h1><p>{text}</p><nav><a href=/>Try again</a></nav>");
    Answer::page(status, &body)
}

/// Escapes text between tags. Attributes would also need their quotes escaped.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn in_words(period: Period) -> String {
    let (count, unit) = match period.as_seconds_f64().round() as u64 {
        0 => return "a moment".to_owned(),
        seconds @ 1..60 => (seconds, "second"),
        seconds @ 60..3_600 => (seconds / 60, "minute"),
        seconds => (seconds / 3_600, "hour"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

const STYLE: &str = "
:root { color-scheme: light dark; background: canvas; color: canvastext }
body { max-width: 40rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif }
form, nav { display: flex; flex-wrap: wrap; gap: .75rem }
nav { align-items: center; margin-top: 2rem }
label, input { box-sizing: border-box; width: 100% }
button, input { padding: .5rem 1rem; font: inherit }
[role=alert] { padding: .5rem 1rem; border: 1px solid; border-radius: .5rem }
table { width: 100%; border-collapse: collapse; text-align: left }
th, td { padding: .75rem .5rem .75rem 0; border-bottom: 1px solid; font-weight: normal }
th small { display: block; font-weight: bold }
";
