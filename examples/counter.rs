//! A site that counts the visits of each visitor, with axum and a session cookie.
//!
//! `tests/with-postgres cargo run --example counter` starts a PostgreSQL server that stops with the program. If
//! `DATABASE_URL` is set, the example uses that database and keeps its sessions in the table `session_counter`.
//!
//! `LISTEN` and `ORIGIN` set the address: see `web/address.rs`.

/// The parts that examples share.
mod web {
    mod address;
    mod page;
    mod server;
    mod stop;
    mod words;

    pub(crate) use self::{address::Address, page::page, server::serve, words::in_words};
}

use std::{
    error::Error as StdError,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use cookie::{Cookie, SameSite};
use session_postgres::{AsyncStore, Error, Key, Offload, Period, PostgresStore, Session};
use throwaway_postgres::Database;

/// A session and its cookie expire this long after the last visit.
const PERIOD: Period = Period::minutes(30);
/// The time limit of each call to the store.
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn StdError + Send + Sync>> {
    let address = web::Address::bind()?;
    // Opening and dropping the database blocks, so both happen outside the async runtime.
    let database = Database::open()?;
    serve(address, database.url())
}

#[tokio::main]
async fn serve(
    address: web::Address,
    database_url: &str,
) -> Result<(), Box<dyn StdError + Send + Sync>> {
    let site = Site {
        store: open_store(database_url).await?,
        is_secure: address.needs_secure_cookies(),
    };
    // Every change is a POST request, because the server rejects those of other sites.
    let router = Router::new()
        .route("/", get(visit))
        .route("/rotate", post(rotate))
        .route("/logout", post(log_out))
        .route("/goodbye", get(goodbye))
        .with_state(site);
    Ok(web::serve(address, router).await?)
}

/// With the default table and timeout, `Offload::connect(database_url)` is enough.
async fn open_store(database_url: &str) -> Result<Offload<PostgresStore>, Error> {
    let options = PostgresStore::builder().table("session_counter")?;
    let facade = Offload::builder().timeout(TIMEOUT);
    let store = facade.connect(options, database_url).await?;
    store.run(|store| store.create_table()).await??;
    Ok(store)
}

/// The state of all requests. Clones share the store.
#[derive(Clone)]
struct Site {
    store: Offload<PostgresStore>,
    is_secure: bool,
}

async fn visit(State(site): State<Site>, headers: HeaderMap) -> Result<Response, Failure> {
    let (key, session) = match site.count_visit(&headers).await {
        Err(Error::NotFound) => site.begin_session().await?,
        counted => counted?,
    };
    Ok(site.with_cookie(&key, counter_page(&session)))
}

/// Moves the session to a new key and invalidates the old cookie. A site with a login does this when a visitor
/// logs in.
async fn rotate(State(site): State<Site>, headers: HeaderMap) -> Result<Response, Failure> {
    let key = site.store.rotate(&site.key_of(&headers)?).await?;
    Ok(site.with_cookie(&key, Redirect::to("/")))
}

async fn log_out(State(site): State<Site>, headers: HeaderMap) -> Result<Response, Failure> {
    // The cookie is removed last: if the store fails, the visitor can try again.
    if let Ok(key) = site.key_of(&headers) {
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
    /// Counts the visit and starts the period again. `update` is atomic, so two visits at the same time both
    /// count.
    async fn count_visit(&self, headers: &HeaderMap) -> Result<(Key, Session), Error> {
        let key = self.key_of(headers)?;
        let edit = |value: Option<&str>| {
            let visits = value.and_then(Visits::parse);
            let visits = visits.map_or_else(Visits::first, Visits::next);
            Some(visits.to_value())
        };
        let session = self.store.update(&key, Some(PERIOD), edit).await?;
        Ok((key, session))
    }

    async fn begin_session(&self) -> Result<(Key, Session), Error> {
        let value = Visits::first().to_value();
        let key = self.store.generate(Some(&value), Some(PERIOD)).await?;
        let session = self.store.get(&key).await?;
        Ok((key, session))
    }

    /// Returns the key in the cookie. A malformed key is `NotFound` without a query.
    fn key_of(&self, headers: &HeaderMap) -> Result<Key, Error> {
        let cookies = headers.get_all(header::COOKIE).into_iter();
        cookies
            .filter_map(|header| header.to_str().ok())
            .flat_map(Cookie::split_parse)
            .flatten()
            .find(|cookie| cookie.name() == self.cookie("").name())
            .and_then(|cookie| cookie.value().parse().ok())
            .ok_or(Error::NotFound)
    }

    fn with_cookie(&self, key: &Key, response: impl IntoResponse) -> Response {
        let cookie = self.cookie(key.as_str()).to_string();
        ([(header::SET_COOKIE, cookie)], response).into_response()
    }

    fn cookie<'a>(&self, value: &'a str) -> Cookie<'a> {
        // With this prefix, browsers accept the cookie only from this host, and only if it is Secure.
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

/// The content of a session.
struct Visits {
    count: u64,
    /// The time of the first visit, in seconds of Unix time.
    since: u64,
}

impl Visits {
    fn first() -> Visits {
        Visits {
            count: 1,
            since: unix_time(),
        }
    }

    fn next(self) -> Visits {
        Visits {
            count: self.count.saturating_add(1),
            ..self
        }
    }

    fn parse(value: &str) -> Option<Visits> {
        let (count, since) = value.split_once(' ')?;
        Some(Visits {
            count: count.parse().ok()?,
            since: since.parse().ok()?,
        })
    }

    fn to_value(&self) -> String {
        format!("{} {}", self.count, self.since)
    }
}

fn unix_time() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |time| time.as_secs())
}

fn counter_page(session: &Session) -> Html<String> {
    let Visits { count, since } = Visits::parse(&session.value).unwrap_or_else(Visits::first);
    let times = if count == 1 { "time" } else { "times" };
    let age = web::in_words(unix_time().saturating_sub(since) as f64);
    let left = web::in_words(session.period.as_seconds_f64());
    page(&format!(
        "<h1>Your visits</h1><p>You have been here <strong>{count}</strong> {times}</p>
        <dl><dt>Age of your session<dd>{age}<dt>It ends if you stay away for<dd>{left}</dl>
        <nav><a href=/>Visit again</a>
        <form method=post action=/rotate><button>Change key</button></form>
        <form method=post action=/logout><button>Log out</button></form></nav>"
    ))
}

fn page(body: &str) -> Html<String> {
    Html(web::page("Counter", body))
}

/// An error, shown to the visitor without details.
struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match &self.0 {
            // The visitor has no session. The front page begins one.
            Error::NotFound => return Redirect::to("/").into_response(),
            Error::Overloaded { .. }
            | Error::TimedOut { .. }
            | Error::StillRunning { .. }
            | Error::Disconnected(_) => (StatusCode::SERVICE_UNAVAILABLE, "Please wait a moment."),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "This did not work."),
        };
        // Errors never contain keys or values, so they can be logged.
        eprintln!("counter: {}", self.0);
        let body = format!("<h1>Sorry</h1><p>{text}</p><nav><a href=/>Try again</a></nav>");
        (status, page(&body)).into_response()
    }
}
