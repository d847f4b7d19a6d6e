//! A site with a login and a list of the user's devices, with axum and tower-sessions.
//!
//! `tests/with-postgres cargo run --example axum --features tower-sessions` starts a PostgreSQL server that
//! stops with the program. If `DATABASE_URL` is set, the example uses that database and keeps its sessions in the
//! table `session_axum`.
//!
//! `LISTEN` and `ORIGIN` set the address: see `web/address.rs`. With the feature `metrics` and `METRICS=127.0.0.1:9464`, the
//! metrics of the store are at <http://127.0.0.1:9464/metrics> for Prometheus.

/// The parts that examples share.
mod web {
    mod address;
    pub(crate) mod login;
    mod metrics;
    mod page;
    mod server;
    mod stop;
    mod words;

    pub(crate) use self::{
        address::Address, metrics::serve_metrics, page::page, server::serve, words::in_words,
    };
}

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
use session_postgres::{AsyncStore, Error, Key, Offload, Period, PostgresStore};
use throwaway_postgres::Database;
use tower_sessions::{Expiry, Session, SessionManagerLayer, cookie::SameSite};

use self::web::login;

type Fault = Box<dyn StdError + Send + Sync>;
/// Clones share the connections.
type Store = Offload<PostgresStore>;

/// A session and its cookie expire this long after the last change.
const PERIOD: Period = Period::minutes(30);
/// The time limit of each call to the database.
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Fault> {
    let address = web::Address::bind()?;
    // Opening and dropping the database blocks, so both happen outside the async runtime.
    let database = Database::open()?;
    serve(address, database.url())
}

#[tokio::main]
async fn serve(address: web::Address, database_url: &str) -> Result<(), Fault> {
    web::serve_metrics().await?;
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
        .layer(session_layer(store.clone(), address.needs_secure_cookies()))
        .layer(map_response(replace_errors))
        .with_state(store);
    Ok(web::serve(address, router).await?)
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
    Ok(page(&login::front_page(
        user.as_deref(),
        visits,
        message.as_deref(),
    )))
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
    if !login::is_valid_name(name) {
        show_next(&session, login::INVALID_NAME).await?;
        return Ok(Redirect::to("/"));
    }
    // A real site would check a password here.
    begin_login(&store, &session, name).await?;
    session.insert("user", name).await?;
    let agent = headers
        .get(header::USER_AGENT)
        .map(|agent| agent.as_bytes());
    session.insert("device", login::device_name(agent)).await?;
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

async fn log_out(session: Session) -> Result<Redirect, Failure> {
    session.flush().await?;
    // Not to the front page, because that would begin a new session.
    Ok(Redirect::to("/goodbye"))
}

async fn goodbye() -> Html<String> {
    page(login::GOODBYE)
}

/// Lists the sessions to which the user is logged in. The page contains handles, and never a key.
async fn devices(State(store): State<Store>, session: Session) -> Result<Response, Failure> {
    let Some(user) = user(&session).await? else {
        return Ok(Redirect::to("/").into_response());
    };
    let here = key(&session)?.handle();
    let devices = store.owned(&user).await?;
    let message = message(&session).await?;
    Ok(page(&login::devices_page(&devices, &here, message.as_deref())).into_response())
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
        true => login::LOGGED_OUT,
        false => login::NOT_LOGGED_IN,
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
    show_next(&session, login::LOGGED_OUT_ELSEWHERE).await?;
    Ok(Redirect::to("/devices"))
}

/// Shows a message on the next page only.
async fn show_next(session: &Session, message: &str) -> Result<(), Fault> {
    Ok(session.insert("message", message).await?)
}

/// Returns the message for this page.
async fn message(session: &Session) -> Result<Option<String>, Fault> {
    Ok(session.remove("message").await?)
}

fn page(body: &str) -> Html<String> {
    Html(web::page("axum and tower-sessions", body))
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
    (status, page(login::SORRY)).into_response()
}
