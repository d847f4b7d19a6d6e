//! How often a visitor has been here: axum in front, the sessions in PostgreSQL.
//!
//! `tests/with-postgres cargo run --example counter` runs it on a server that lasts as long as the
//! program; with `DATABASE_URL` set it runs there, in a table of its own, which stays.
//!
//! `LISTEN` says where to listen, by default `127.0.0.1:3000`. `ORIGIN` says where browsers find it,
//! such as `https://example.org` behind a proxy that speaks TLS; by default `http://` and that address.

use std::{
    env,
    error::Error as StdError,
    io,
    net::TcpListener,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state, map_response},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use cookie::{Cookie, SameSite};
use session_postgres::{AsyncStore, Error, Key, Offload, Period, PostgresStore, Session};
use throwaway_postgres::Database;
use tokio::signal::unix::{SignalKind, signal};

/// How long a session lives after its last visit, and its cookie with it.
const PERIOD: Period = Period::minutes(30);
/// How long a visitor waits for the database, and the end of the program for its visitors.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every request needs. Clones share the store.
#[derive(Clone)]
struct Site {
    store: Offload<PostgresStore>,
    is_secure: bool,
}

fn main() -> Result<(), Box<dyn StdError>> {
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen)
        .map_err(|e| format!("cannot listen on {listen}: {e}; LISTEN may name another address"))?;
    // It blocks, so it starts before the async runtime, and stops after it.
    let database = Database::open()?;
    serve(listener, database.url())
}

#[tokio::main]
async fn serve(listener: TcpListener, database_url: &str) -> Result<(), Box<dyn StdError>> {
    // `Offload::connect(database_url)` does as much, for the usual table and patience.
    let options = PostgresStore::builder().table("session_counter")?;
    let facade = Offload::builder().timeout(PATIENCE);
    let store = facade.connect(options, database_url).await?;
    store.run(|store| store.create_table()).await??;

    // Secure is right unless plain http goes no further than this machine, where not every browser
    // (Safari) keeps a Secure cookie.
    let address = listener.local_addr()?;
    let origin = env::var("ORIGIN").unwrap_or_else(|_| format!("http://{address}"));
    let is_secure = !(origin.starts_with("http://") && address.ip().is_loopback());

    // Other paths, such as /favicon.ico, are not found, and count nothing.
    let site = Router::new()
        .route("/", get(visit))
        .route("/rotate", post(rotate))
        .route("/logout", post(log_out))
        .route("/goodbye", get(goodbye))
        .layer(from_fn_with_state(origin.clone(), only_from_here))
        .layer(map_response(with_headers))
        .with_state(Site { store, is_secure });
    let (stop, too_late) = (told_to_stop()?, told_to_stop()?);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    println!("Listening on {address}. Open {origin}/ in a browser; Ctrl-C ends this.");
    tokio::select! {
        served = axum::serve(listener, site).with_graceful_shutdown(stop).into_future() => served?,
        // Whoever never finishes a request is not waited for.
        () = async { too_late.await; tokio::time::sleep(PATIENCE).await } => {}
    }
    println!("Stopped.");
    Ok(())
}

/// Listens for Ctrl-C and `kill` from now on; the future waits for one of them.
fn told_to_stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Lets nothing be changed that another site's page has made the browser ask for. With SameSite=Lax that
/// comes without the cookie, but its answer could set another, or remove it.
async fn only_from_here(State(origin): State<String>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_from(&origin, request.headers()) {
        return next.run(request).await;
    }
    let body =
        page("<h1>Sorry</h1><p>Another site has sent you.</p><nav><a href=/>Go on</a></nav>");
    (StatusCode::FORBIDDEN, body).into_response()
}

fn is_from(origin: &str, headers: &HeaderMap) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin" || site == "none",
        // An older browser.
        (None, Some(sent)) => sent == origin,
        // No browser.
        (None, None) => true,
    }
}

/// Counts in the living session of the cookie, or begins one, under a key that nobody has sent.
async fn visit(State(site): State<Site>, headers: HeaderMap) -> Result<Response, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let (key, session) = match site.count(&headers, now).await {
        Err(Error::NotFound) => {
            let first = format!("1 {now}");
            let key = site.store.generate(Some(&first), Some(PERIOD)).await?;
            let session = site.store.get(&key).await?;
            (key, session)
        }
        counted => counted?,
    };
    let (visits, began) = parse(&session.value).unwrap_or((1, now));
    let times = if visits == 1 { "time" } else { "times" };
    let age = words(now.saturating_sub(began));
    let left = words(session.period.as_seconds_f64().round() as u64);
    let body = format!(
        "<p>You have been here <strong>{visits}</strong> {times}</p>
        <dl><dt>Age of your session<dd>{age}<dt>It ends if you stay away for<dd>{left}</dl>
        <nav><a href=/>Visit again</a>
        <form method=post action=/rotate><button>Change key</button></form>
        <form method=post action=/logout><button>Log out</button></form></nav>"
    );
    Ok(site.with_key(&key, page(&body)))
}

/// Moves the session to a new key, as one does when a visitor logs in: the old cookie is worth nothing.
async fn rotate(State(site): State<Site>, headers: HeaderMap) -> Result<Response, Failure> {
    let key = site.store.rotate(&site.sent_key(&headers)?).await?;
    Ok(site.with_key(&key, Redirect::to("/")))
}

/// By POST alone, as is all that changes a session at a visitor's wish: see [`only_from_here`].
async fn log_out(State(site): State<Site>, headers: HeaderMap) -> Result<Response, Failure> {
    if let Ok(key) = site.sent_key(&headers) {
        // First of all: where this fails, the cookie is still there to try again with.
        site.store.clear(&key).await?;
    }
    let mut cookie = site.cookie("");
    cookie.make_removal();
    let removal = [(header::SET_COOKIE, cookie.to_string())];
    Ok((removal, Redirect::to("/goodbye")).into_response())
}

async fn goodbye() -> Html<String> {
    page("<h1>Goodbye</h1><p>Your session is gone.</p><nav><a href=/>Begin again</a></nav>")
}

impl Site {
    /// Adds a visit in one step, so that two at the same time are two, and the period starts anew.
    async fn count(&self, headers: &HeaderMap, now: u64) -> Result<(Key, Session), Error> {
        let key = self.sent_key(headers)?;
        let edit = move |value: Option<&str>| {
            let (visits, began) = value.and_then(parse).unwrap_or((0, now));
            Some(format!("{} {began}", visits.saturating_add(1)))
        };
        let session = self.store.update(&key, Some(PERIOD), edit).await?;
        Ok((key, session))
    }

    /// The key in the request's cookie. One that no store could have made is not looked for.
    fn sent_key(&self, headers: &HeaderMap) -> Result<Key, Error> {
        let cookies = headers.get_all(header::COOKIE).into_iter();
        cookies
            .filter_map(|header| header.to_str().ok())
            .flat_map(Cookie::split_parse)
            .flatten()
            .find(|cookie| cookie.name() == self.cookie("").name())
            .and_then(|cookie| cookie.value().parse().ok())
            .ok_or(Error::NotFound)
    }

    fn with_key(&self, key: &Key, response: impl IntoResponse) -> Response {
        let cookie = self.cookie(key.as_str()).to_string();
        ([(header::SET_COOKIE, cookie)], response).into_response()
    }

    fn cookie<'a>(&self, value: &'a str) -> Cookie<'a> {
        // With the prefix, browsers take it from this very host alone, and only if it is Secure.
        let prefix = if self.is_secure { "__Host-" } else { "" };
        Cookie::build((format!("{prefix}counter"), value))
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.is_secure)
            .path("/")
            .max_age(PERIOD)
            .build()
    }
}

/// A session's value: how many visits, and since when, in seconds of Unix time. The period alone would
/// not tell, for each visit starts it anew.
fn parse(value: &str) -> Option<(u64, u64)> {
    let (visits, began) = value.split_once(' ')?;
    Some((visits.parse().ok()?, began.parse().ok()?))
}

/// In words, in the largest unit of which there is one.
fn words(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0 => return "a moment".to_owned(),
        1..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// What a visitor sees of an error.
struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match &self.0 {
            // The first page begins a session.
            Error::NotFound => return Redirect::to("/").into_response(),
            Error::Overloaded { .. }
            | Error::TimedOut { .. }
            | Error::StillRunning { .. }
            | Error::Disconnected(_) => (StatusCode::SERVICE_UNAVAILABLE, "Please wait a moment."),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "This did not work."),
        };
        // The details are for the log; keys and values are not among them.
        eprintln!("counter: {}", self.0);
        let body = format!("<h1>Sorry</h1><p>{text}</p><nav><a href=/>Try again</a></nav>");
        (status, page(&body)).into_response()
    }
}

/// Every answer is for one visitor, so nobody keeps it, and a page needs nothing but its own style.
async fn with_headers(response: Response) -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                  frame-ancestors 'none'; base-uri 'none'";
    let policy = (header::CONTENT_SECURITY_POLICY, policy);
    ([(header::CACHE_CONTROL, "no-store"), policy], response)
}

/// The body is this program's own text and numbers; what visitors write would have to be escaped.
fn page(body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Counter</title>
        <meta name=viewport content='width=device-width'><style>{STYLE}</style><main>{body}</main>"
    ))
}

const STYLE: &str = "
    :root { color-scheme: light dark; --page: #f1f3f6; --card: #fff; --text: #1c2430; --dim: #5a6575;
        --line: #dfe3e9; --accent: #2f5fd0 }
    @media (prefers-color-scheme: dark) { :root { --page: #11151b; --card: #1a2029; --text: #e8ecf2;
        --dim: #9aa6b6; --line: #303947; --accent: #8fb2ff } }
    body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page);
        color: var(--text); font: 1rem/1.5 system-ui, sans-serif }
    main { box-sizing: border-box; width: min(28rem, 100% - 2rem); padding: 2.5rem 2rem 2rem;
        background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
        text-align: center }
    h1, p { margin: 0 } p, dt { color: var(--dim) }
    strong { display: block; color: var(--text); font-size: 6rem; line-height: 1.2 }
    dl { display: grid; grid-template-columns: auto 1fr; gap: .5rem 1rem; margin: 2rem 0 0;
        padding-top: 1.5rem; border-top: 1px solid var(--line); text-align: left }
    dd { margin: 0; text-align: right }
    nav { display: flex; flex-wrap: wrap; justify-content: center; gap: .75rem; margin-top: 2rem }
    a, button { padding: .5rem 1rem; border: 1px solid var(--line); border-radius: .5rem;
        background: none; color: inherit; font: inherit; text-decoration: none; cursor: pointer }
    a { background: var(--accent); border-color: var(--accent); color: var(--card) }
    a:hover, button:hover { border-color: currentcolor }";
