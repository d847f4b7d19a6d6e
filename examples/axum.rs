//! A site with a login and a list of the user's devices, with axum and tower-sessions.
//!
//! `tests/with-postgres cargo run --example axum --features tower-sessions` starts a PostgreSQL server that
//! stops with the program. If `DATABASE_URL` is set, the example uses that database and keeps its sessions in the
//! table `session_axum`.
//!
//! `LISTEN` and `ORIGIN` set the address: see `web/server.rs`.

mod web;

use std::{error::Error as StdError, time::Duration};

use axum::{
    Form, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    middleware::map_response,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use session_postgres::{AsyncStore, Error, Key, Offload, OwnedSession, Period, PostgresStore};
use throwaway_postgres::Database;
use tower_sessions::{Expiry, Session, SessionManagerLayer, cookie::SameSite};

type Fault = Box<dyn StdError + Send + Sync>;
/// Clones share the connections.
type Store = Offload<PostgresStore>;

/// A session and its cookie expire this long after the last change.
const PERIOD: Period = Period::minutes(30);
/// The time limit of each call to the database.
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Fault> {
    let server = web::Server::bind()?;
    // Opening and dropping the database blocks, so both happen outside the async runtime.
    let database = Database::open()?;
    serve(server, database.url())
}

#[tokio::main]
async fn serve(server: web::Server, database_url: &str) -> Result<(), Fault> {
    let store = open_store(database_url).await?;
    // Every change is a POST request, because the server rejects those of other sites.
    let router = Router::new()
        .route("/", get(visit))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/goodbye", get(goodbye))
        .route("/devices", get(devices))
        .route("/devices/logout", post(log_out_device))
        .route("/elsewhere", post(log_out_elsewhere))
        .layer(session_layer(store.clone(), server.needs_secure_cookies()))
        .layer(map_response(replace_errors))
        .with_state(store);
    Ok(server.serve(router).await?)
}

/// With the default table and timeout, `Offload::connect(database_url)` is enough.
async fn open_store(database_url: &str) -> Result<Store, Error> {
    let options = PostgresStore::builder().table("session_axum")?;
    let facade = Offload::builder().timeout(TIMEOUT);
    let store = facade.connect(options, database_url).await?;
    store.run(|store| store.create_table()).await??;
    Ok(store)
}

fn session_layer(store: Store, is_secure: bool) -> SessionManagerLayer<Store> {
    SessionManagerLayer::new(store)
        // Not `__Host-axum`: tower-sessions cannot remove a cookie with that prefix.
        .with_name("axum")
        .with_http_only(true)
        // With the default, `Strict`, a visitor who follows a link from another site appears logged out. With
        // `Lax`, links carry the cookie, and POST requests of other sites do not.
        .with_same_site(SameSite::Lax)
        .with_secure(is_secure)
        .with_expiry(Expiry::OnInactivity(PERIOD))
}

/// tower-sessions does not lock sessions, so one of two visits at the same time may not be counted. The
/// example `counter` counts both.
async fn visit(session: Session) -> Result<Html<String>, Failure> {
    let user = user(&session).await?;
    let visits = session.get::<u64>("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits).await?;
    let message = message(&session).await?;
    Ok(front_page(user.as_deref(), visits, &message))
}

/// Returns the user who is logged in to the session.
async fn user(session: &Session) -> Result<Option<String>, Fault> {
    Ok(session.get("user").await?)
}

#[derive(Deserialize)]
struct LoginForm {
    name: String,
}

async fn log_in(
    State(store): State<Store>,
    session: Session,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Result<Redirect, Failure> {
    let name = form.name.trim();
    if !is_valid_name(name) {
        show_next(&session, "A name has 1 to 40 characters.").await?;
        return Ok(Redirect::to("/"));
    }
    // A real site would check a password here.
    begin_login(&store, &session, name).await?;
    session.insert("user", name).await?;
    session.insert("device", device_name(&headers)).await?;
    show_next(&session, &format!("Welcome, {name}.")).await?;
    Ok(Redirect::to("/"))
}

/// Moves the session to a new id, so that an id which another person knows or has planted in the browser
/// (session fixation) is not logged in. Then gives the session its owner, by which all logins of a user are found.
/// A real site uses the id of the account, which never changes.
///
/// tower-sessions changes the id by deleting the session and creating another one, which has no owner. So each
/// `cycle_id` must be followed by these steps, in this order:
///
/// 1. `save` creates the new session. Only a stored session has an id and can have an owner.
/// 2. `set_owner`.
/// 3. The caller inserts the user, and tower-sessions saves that with the response.
///
/// With another order, there would be a moment at which the user is logged in to a session without an owner. "Log
/// out everywhere else" would miss it. If `set_owner` fails, the visitor gets no cookie and is not logged in.
async fn begin_login(store: &Store, session: &Session, owner: &str) -> Result<(), Fault> {
    session.cycle_id().await?;
    session.save().await?;
    Ok(store.set_owner(&key(session)?, Some(owner)).await?)
}

/// Returns the key of a saved session: its id as in the cookie.
fn key(session: &Session) -> Result<Key, Fault> {
    let id = session.id().ok_or("the session has not been saved")?;
    Ok(id.to_string().parse()?)
}

fn is_valid_name(name: &str) -> bool {
    (1..=40).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

async fn log_out(session: Session) -> Result<Redirect, Failure> {
    session.flush().await?;
    // Not to the front page, because that would begin a new session.
    Ok(Redirect::to("/goodbye"))
}

async fn goodbye() -> Html<String> {
    page("<h1>Goodbye</h1><p>Your session is gone.</p><nav><a href=/>Begin again</a></nav>")
}

/// Lists the sessions to which the user is logged in. The page contains handles, and never a key.
async fn devices(State(store): State<Store>, session: Session) -> Result<Response, Failure> {
    let Some(user) = user(&session).await? else {
        return Ok(Redirect::to("/").into_response());
    };
    let here = key(&session)?.handle();
    let devices = store.owned(&user).await?;
    let message = message(&session).await?;
    Ok(devices_page(&devices, &here, &message).into_response())
}

#[derive(Deserialize)]
struct DeviceForm {
    handle: String,
}

async fn log_out_device(
    State(store): State<Store>,
    session: Session,
    Form(form): Form<DeviceForm>,
) -> Result<Redirect, Failure> {
    let Some(user) = user(&session).await? else {
        return Ok(Redirect::to("/"));
    };
    // tower-sessions must end its own session: it could not save one that the store has removed.
    if form.handle == key(&session)?.handle() {
        return log_out(session).await;
    }
    // The handle of another user's session has no effect.
    let message = match store.clear_handle(&user, &form.handle).await? {
        true => "That device is logged out.",
        false => "That device was not logged in any more.",
    };
    show_next(&session, message).await?;
    Ok(Redirect::to("/devices"))
}

/// Ends all other logins of this user. Their requests that are still running cannot save their session.
async fn log_out_elsewhere(
    State(store): State<Store>,
    session: Session,
) -> Result<Redirect, Failure> {
    let Some(user) = user(&session).await? else {
        return Ok(Redirect::to("/"));
    };
    store.clear_owned(&user, Some(&key(&session)?)).await?;
    show_next(&session, "You are logged out everywhere else.").await?;
    Ok(Redirect::to("/devices"))
}

/// Shows a message on the next page only.
async fn show_next(session: &Session, message: &str) -> Result<(), Fault> {
    Ok(session.insert("message", message).await?)
}

/// Returns the message for this page as HTML.
async fn message(session: &Session) -> Result<String, Fault> {
    let message: Option<String> = session.remove("message").await?;
    Ok(message.map_or(String::new(), |text| {
        format!("<p role=status>{}</p>", escape(&text))
    }))
}

/// Returns a name by which the user recognizes the device. It comes from the browser, so it can be false.
fn device_name(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT);
    let agent = agent.map_or("", |agent| agent.to_str().unwrap_or_default());
    let find = |names: &[&'static str]| names.iter().find(|name| agent.contains(**name)).copied();
    // Chromium also calls itself Safari, Edge also Chrome, and Android also Linux.
    let browser = find(&["Firefox", "Edg", "Chrome", "Safari"]).unwrap_or("Unknown browser");
    let system = find(&["Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux"]);
    match system {
        Some(system) => format!("{} on {system}", browser.replace("Edg", "Edge")),
        None => browser.to_owned(),
    }
}

fn front_page(user: Option<&str>, visits: u64, message: &str) -> Html<String> {
    let times = if visits == 1 { "time" } else { "times" };
    let count = format!("<p>You have been here <strong>{visits}</strong> {times}</p>");
    page(&match user {
        Some(name) => format!(
            "{message}<h1>Hello, {}</h1>{count}
            <nav><a href=/>Visit again</a>
            <a href=/devices>Your devices</a>
            <form method=post action=/logout><button>Log out</button></form></nav>",
            escape(name)
        ),
        None => format!(
            "{message}<h1>Your visits</h1>{count}
            <form method=post action=/login><label for=name>Your name</label>
            <input id=name name=name required maxlength=40 autocomplete=username>
            <button>Log in</button></form>
            <p><small>Any name will do: this example has no passwords.</small></p>"
        ),
    })
}

/// `here` is the handle of the visitor's session.
fn devices_page(devices: &[OwnedSession], here: &str, message: &str) -> Html<String> {
    let rows = devices.iter().enumerate().map(|(row, device)| {
        let is_here = device.handle == here;
        let name = escape(&stored_device_name(device));
        let mark = if is_here {
            "<small>This device</small>"
        } else {
            ""
        };
        let age = device.age.map_or("unknown".to_owned(), in_words);
        let left = in_words(device.period);
        let handle = &device.handle;
        let button = if is_here { "Log out here" } else { "Log out" };
        // A screen reader announces the name of the device with the button.
        format!(
            "<tr><th scope=row id=device-{row}>{name}{mark}</th><td>{age}</td><td>{left}</td>
            <td><form method=post action=/devices/logout>
            <input type=hidden name=handle value={handle}>
            <button id=button-{row} aria-labelledby='button-{row} device-{row}'>{button}</button>
            </form></td></tr>"
        )
    });
    page(&format!(
        "{message}<h1 id=devices>Your devices</h1>
        <table aria-labelledby=devices>
        <thead><tr><th scope=col>Device</th><th scope=col>Logged in for</th>
        <th scope=col>Ends in</th><th scope=col>Action</th></tr></thead>
        <tbody>{}</tbody></table>
        <nav><a href=/>Back</a>
        <form method=post action=/elsewhere><button>Log out everywhere else</button></form></nav>",
        rows.collect::<String>()
    ))
}

/// tower-sessions stores the data of a session as a JSON object.
fn stored_device_name(session: &OwnedSession) -> String {
    #[derive(Deserialize)]
    struct Data {
        device: String,
    }
    let data = session.value.as_deref().map(serde_json::from_str::<Data>);
    match data {
        Some(Ok(data)) => data.device,
        // The login is not complete.
        _ => "New device".to_owned(),
    }
}

fn in_words(period: Period) -> String {
    web::in_words(period.as_seconds_f64())
}

/// Escapes text between tags. Attributes would also need their quotes escaped.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn page(body: &str) -> Html<String> {
    web::page("axum and tower-sessions", body)
}

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

/// Shows errors to the visitor without details: those of this program, and those of tower-sessions, which
/// saves the session after the response is made.
async fn replace_errors(response: Response) -> Response {
    let status = response.status();
    if !status.is_server_error() {
        return response;
    }
    let body = "<h1>Sorry</h1><p>This did not work.</p><nav><a href=/>Try again</a></nav>";
    (status, page(body)).into_response()
}
