//! A site with a login: axum and tower-sessions in front, the sessions in PostgreSQL.
//!
//! `tests/with-postgres cargo run --example axum --features tower-sessions` runs it on a server that lasts
//! as long as the program; with `DATABASE_URL` set it runs there, in two tables of its own, which stay.
//!
//! `LISTEN` says where to listen, by default `127.0.0.1:3000`. `ORIGIN` says where browsers find it,
//! such as `https://example.org` behind a proxy that speaks TLS; by default `http://` and that address.

use std::{env, error::Error as StdError, io, net::TcpListener, time::Duration};

use axum::{
    Form, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state, map_response},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use session_postgres::{
    Offload, Period, PostgresStore,
    postgres::{self, Client},
};
use throwaway_postgres::Database;
use tokio::signal::unix::{SignalKind, signal};
use tower_sessions::{Expiry, Session, SessionManagerLayer, cookie::SameSite};

/// What goes wrong, for the log.
type Fault = Box<dyn StdError + Send + Sync>;

/// How long a session lives after its last change, and its cookie with it.
const PERIOD: Period = Period::minutes(30);
/// How long a visitor waits for the database, and the end of the program for its visitors.
const PATIENCE: Duration = Duration::from_secs(10);

/// The users, each with the generation of logins that counts.
const ACCOUNTS: &str = "CREATE TABLE IF NOT EXISTS account_axum (
    name       text PRIMARY KEY,
    generation bigint NOT NULL DEFAULT 0
)";

/// What every request needs. Clones share the store, which tower-sessions has as well.
#[derive(Clone)]
struct Site {
    store: Offload<PostgresStore>,
}

/// What a session says of the visitor who is logged in.
#[derive(Serialize, Deserialize)]
struct Login {
    name: String,
    generation: i64,
}

fn main() -> Result<(), Fault> {
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen)
        .map_err(|e| format!("cannot listen on {listen}: {e}; LISTEN may name another address"))?;
    // It blocks, so it starts before the async runtime, and stops after it.
    let database = Database::open()?;
    serve(listener, database.url())
}

#[tokio::main]
async fn serve(listener: TcpListener, database_url: &str) -> Result<(), Fault> {
    let options = PostgresStore::builder().table("session_axum")?;
    let facade = Offload::builder().timeout(PATIENCE);
    let store = facade.connect(options, database_url).await?;
    store.run(|store| store.create_table()).await??;
    let site = Site { store };
    site.sql(|client| client.batch_execute(ACCOUNTS)).await?;

    // Secure is right unless plain http goes no further than this machine, where not every browser
    // (Safari) keeps a Secure cookie.
    let address = listener.local_addr()?;
    let origin = env::var("ORIGIN").unwrap_or_else(|_| format!("http://{address}"));
    let is_secure = !(origin.starts_with("http://") && address.ip().is_loopback());

    // HttpOnly is tower-sessions' own default. With its SameSite=Strict, who follows a link from
    // another site would look logged out; Lax leaves out only what other sites post. The name has no
    // prefix `__Host-`, for tower-sessions cannot remove such a cookie.
    let sessions = SessionManagerLayer::new(site.store.clone())
        .with_name("axum")
        .with_same_site(SameSite::Lax)
        .with_secure(is_secure)
        .with_expiry(Expiry::OnInactivity(PERIOD));

    // Whatever changes something at a visitor's wish is a POST: see `only_from_here`.
    let router = Router::new()
        .route("/", get(visit))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/elsewhere", post(log_out_elsewhere))
        .route("/goodbye", get(goodbye))
        .layer(sessions)
        .layer(from_fn_with_state(origin.clone(), only_from_here))
        .layer(map_response(finish))
        .with_state(site);
    let (stop, too_late) = (told_to_stop()?, told_to_stop()?);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    println!("Listening on {address}. Open {origin}/ in a browser; Ctrl-C ends this.");
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(stop).into_future() => served?,
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

/// Counts, and shows once what the request before has left to say.
///
/// tower-sessions has no lock: of two visits at the same time one may go uncounted. The example
/// `counter` counts them all.
async fn visit(State(site): State<Site>, session: Session) -> Result<Html<String>, Failure> {
    let user = site.user(&session).await?;
    let visits = session.get::<u64>("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits).await?;
    let flash: Option<String> = session.remove("flash").await?;

    let flash = flash.map_or(String::new(), |text| {
        format!("<p role=status>{}</p>", escape(&text))
    });
    let times = if visits == 1 { "time" } else { "times" };
    let count = format!("<p>You have been here <strong>{visits}</strong> {times}</p>");
    Ok(page(&match user {
        Some(name) => format!(
            "{flash}<h1>Hello, {}</h1>{count}
            <nav><a href=/>Visit again</a>
            <form method=post action=/elsewhere><button>Log out everywhere else</button></form>
            <form method=post action=/logout><button>Log out</button></form></nav>",
            escape(&name)
        ),
        None => format!(
            "{flash}{count}
            <form method=post action=/login><label for=name>Your name</label>
            <input id=name name=name required maxlength=40 autocomplete=username>
            <button>Log in</button></form>
            <p><small>Any name will do: this example has no passwords.</small></p>"
        ),
    }))
}

#[derive(Deserialize)]
struct Entry {
    name: String,
}

async fn log_in(
    State(site): State<Site>,
    session: Session,
    Form(entry): Form<Entry>,
) -> Result<Redirect, Failure> {
    let name = entry.name.trim().to_owned();
    if name.is_empty() || name.chars().count() > 40 || name.chars().any(char::is_control) {
        let flash = "A name has 1 to 40 characters.";
        session.insert("flash", flash).await?;
        return Ok(Redirect::to("/"));
    }
    // Here a password would be checked.
    let sql = "INSERT INTO account_axum (name) VALUES ($1)
        ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING generation";
    let login = site.login(sql, name).await?;
    // Under a new id: whoever knew the old one, or has made the visitor's browser send it (session
    // fixation), has nothing.
    session.cycle_id().await?;
    let flash = format!("Welcome, {}.", login.name);
    session.insert("flash", flash).await?;
    session.insert("login", login).await?;
    Ok(Redirect::to("/"))
}

async fn log_out(session: Session) -> Result<Redirect, Failure> {
    session.flush().await?;
    // A page that stores nothing: else this browser would at once have a session again.
    Ok(Redirect::to("/goodbye"))
}

async fn goodbye() -> Html<String> {
    page("<h1>Goodbye</h1><p>Your session is gone.</p><nav><a href=/>Begin again</a></nav>")
}

/// Ends all logins of this user but this one.
///
/// tower-sessions knows no users, and gives no way to find, list or delete the sessions of one. So each
/// login carries its user's generation, and is worth something only while that is the current one. The
/// others' rows stay until they are next used, or expire; a request of theirs that has already been let
/// in is still answered.
async fn log_out_elsewhere(
    State(site): State<Site>,
    session: Session,
) -> Result<Redirect, Failure> {
    if let Some(name) = site.user(&session).await? {
        let sql = "UPDATE account_axum SET generation = generation + 1 WHERE name = $1
            RETURNING generation";
        let login = site.login(sql, name).await?;
        session.cycle_id().await?;
        session.insert("login", login).await?;
        session
            .insert("flash", "You are logged out everywhere else.")
            .await?;
    }
    Ok(Redirect::to("/"))
}

impl Site {
    /// Who is logged in. A login that was ended from elsewhere ends here, and the session begins anew.
    async fn user(&self, session: &Session) -> Result<Option<String>, Fault> {
        let Some(login) = session.get::<Login>("login").await? else {
            return Ok(None);
        };
        let Login { name, generation } = login;
        let asked = name.clone();
        let sql = "SELECT FROM account_axum WHERE name = $1 AND generation = $2";
        let found = self.sql(move |client| client.query_opt(sql, &[&asked, &generation]));
        if found.await?.is_some() {
            return Ok(Some(name));
        }
        session.clear().await;
        session.cycle_id().await?;
        let flash = "You have been logged out from elsewhere.";
        session.insert("flash", flash).await?;
        Ok(None)
    }

    /// A login of the generation that the statement gives for the name.
    async fn login(&self, sql: &'static str, name: String) -> Result<Login, Fault> {
        self.sql(move |client| {
            let generation = client.query_one(sql, &[&name])?.try_get(0)?;
            Ok(Login { name, generation })
        })
        .await
    }

    /// Asks the database something of the site's own, on a connection of the store.
    async fn sql<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Client) -> Result<T, postgres::Error> + Send + 'static,
    ) -> Result<T, Fault> {
        Ok(self.store.run(|store| store.with_client(work)).await???)
    }
}

/// What a visitor sees of an error: that there was one.
struct Failure(Fault);

impl<E: Into<Fault>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        eprintln!("axum: {}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// Every answer is for one visitor, so nobody keeps it, and a page needs nothing but its own style. An
/// error is answered without a page, by this program and, where a session cannot be saved, by
/// tower-sessions.
async fn finish(mut response: Response) -> impl IntoResponse {
    if response.status().is_server_error() {
        let status = response.status();
        let body = "<h1>Sorry</h1><p>This did not work.</p><nav><a href=/>Try again</a></nav>";
        response = (status, page(body)).into_response();
    }
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                  frame-ancestors 'none'; base-uri 'none'";
    let policy = (header::CONTENT_SECURITY_POLICY, policy);
    ([(header::CACHE_CONTROL, "no-store"), policy], response)
}

/// What visitors wrote, as HTML between tags.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The body is HTML already.
fn page(body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>axum and tower-sessions</title>
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
        margin: 1rem 0; background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
        text-align: center; overflow-wrap: anywhere }
    h1, p { margin: 0 0 .75rem } p { color: var(--dim) }
    strong { display: block; color: var(--text); font-size: 6rem; line-height: 1.2 }
    [role=status] { margin-bottom: 1.5rem; padding: .5rem 1rem; border-radius: .5rem;
        border: 1px solid var(--accent); color: var(--text) }
    nav, [action='/login'] { display: flex; flex-wrap: wrap; justify-content: center; gap: .75rem;
        margin: 2rem 0 0 }
    [action='/login'] { padding-top: 1.5rem; border-top: 1px solid var(--line) }
    label { width: 100%; text-align: left } small { display: block; margin-top: 1rem }
    nav form { display: contents }
    a, button, input { box-sizing: border-box; padding: .5rem 1rem; border: 1px solid var(--line);
        border-radius: .5rem; background: none; color: inherit; font: inherit; text-decoration: none }
    input { flex: 1; min-width: 10rem; border-color: var(--dim) }
    a, button { cursor: pointer } a:hover, button:hover { border-color: currentcolor }
    a, [action='/login'] button { background: var(--accent); border-color: var(--accent);
        color: var(--card) }";
