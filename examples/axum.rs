//! A site with a login, with axum and tower-sessions.
//!
//! `tests/with-postgres cargo run --example axum --features tower-sessions` starts a PostgreSQL server that
//! stops with the program. If `DATABASE_URL` is set, the example uses that database and keeps its data in the
//! tables `session_axum` and `account_axum`.
//!
//! `LISTEN` and `ORIGIN` set the address: see `web/server.rs`.

mod web;

use std::{error::Error as StdError, time::Duration};

use axum::{
    Form, Router,
    extract::State,
    http::StatusCode,
    middleware::map_response,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use session_postgres::{
    Error, Offload, Period, PostgresStore,
    postgres::{self, Client},
};
use throwaway_postgres::Database;
use tower_sessions::{Expiry, Session, SessionManagerLayer, cookie::SameSite};

type Fault = Box<dyn StdError + Send + Sync>;

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
    let accounts = Accounts {
        store: store.clone(),
    };
    accounts.create_table().await?;
    // Every change is a POST request, because the server rejects those of other sites.
    let router = Router::new()
        .route("/", get(visit))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/elsewhere", post(log_out_elsewhere))
        .route("/goodbye", get(goodbye))
        .layer(session_layer(store, server.needs_secure_cookies()))
        .layer(map_response(replace_errors))
        .with_state(accounts);
    Ok(server.serve(router).await?)
}

/// With the default table and timeout, `Offload::connect(database_url)` is enough.
async fn open_store(database_url: &str) -> Result<Offload<PostgresStore>, Error> {
    let options = PostgresStore::builder().table("session_axum")?;
    let facade = Offload::builder().timeout(TIMEOUT);
    let store = facade.connect(options, database_url).await?;
    store.run(|store| store.create_table()).await??;
    Ok(store)
}

fn session_layer(
    store: Offload<PostgresStore>,
    is_secure: bool,
) -> SessionManagerLayer<Offload<PostgresStore>> {
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
async fn visit(
    State(accounts): State<Accounts>,
    session: Session,
) -> Result<Html<String>, Failure> {
    let user = accounts.user(&session).await?;
    let visits = session.get::<u64>("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits).await?;
    let message: Option<String> = session.remove("message").await?;
    Ok(front_page(user.as_deref(), visits, message.as_deref()))
}

#[derive(Deserialize)]
struct LoginForm {
    name: String,
}

async fn log_in(
    State(accounts): State<Accounts>,
    session: Session,
    Form(form): Form<LoginForm>,
) -> Result<Redirect, Failure> {
    let name = form.name.trim();
    if !is_valid_name(name) {
        show_next(&session, "A name has 1 to 40 characters.").await?;
        return Ok(Redirect::to("/"));
    }
    // A real site would check a password here.
    let login = accounts.log_in(name).await?;
    replace_login(&session, login).await?;
    show_next(&session, &format!("Welcome, {name}.")).await?;
    Ok(Redirect::to("/"))
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

/// Ends all other logins of this user. A request that has already passed the check is still answered.
async fn log_out_elsewhere(
    State(accounts): State<Accounts>,
    session: Session,
) -> Result<Redirect, Failure> {
    if let Some(name) = accounts.user(&session).await? {
        let login = accounts.end_logins(&name).await?;
        replace_login(&session, login).await?;
        show_next(&session, "You are logged out everywhere else.").await?;
    }
    Ok(Redirect::to("/"))
}

/// Moves the session to a new id, so that an id which another person knows or has planted in the browser
/// (session fixation) is not logged in.
async fn replace_login(session: &Session, login: Login) -> Result<(), Fault> {
    session.cycle_id().await?;
    session.insert("login", login).await?;
    Ok(())
}

/// Shows a message on the next page only.
async fn show_next(session: &Session, message: &str) -> Result<(), Fault> {
    Ok(session.insert("message", message).await?)
}

/// The users, in the database of the sessions. Clones share the connections.
///
/// tower-sessions cannot find the sessions of a user. Therefore each user has a generation, which every login
/// of that user carries. A new generation ends all logins of older ones. Their rows remain until the
/// sessions are used again or expire.
#[derive(Clone)]
struct Accounts {
    store: Offload<PostgresStore>,
}

/// The user who is logged in to a session.
#[derive(Serialize, Deserialize)]
struct Login {
    name: String,
    generation: i64,
}

impl Accounts {
    async fn create_table(&self) -> Result<(), Fault> {
        let sql = "CREATE TABLE IF NOT EXISTS account_axum (
            name       text PRIMARY KEY,
            generation bigint NOT NULL DEFAULT 0
        )";
        self.query(|client| client.batch_execute(sql)).await
    }

    /// Returns the user who is logged in. If the login was ended elsewhere, the session begins again.
    async fn user(&self, session: &Session) -> Result<Option<String>, Fault> {
        let Some(login) = session.get::<Login>("login").await? else {
            return Ok(None);
        };
        let name = login.name.clone();
        if self.is_valid(login).await? {
            return Ok(Some(name));
        }
        session.clear().await;
        session.cycle_id().await?;
        show_next(session, "You have been logged out from elsewhere.").await?;
        Ok(None)
    }

    async fn is_valid(&self, Login { name, generation }: Login) -> Result<bool, Fault> {
        let sql = "SELECT FROM account_axum WHERE name = $1 AND generation = $2";
        let row = self.query(move |client| client.query_opt(sql, &[&name, &generation]));
        Ok(row.await?.is_some())
    }

    async fn log_in(&self, name: &str) -> Result<Login, Fault> {
        let sql = "INSERT INTO account_axum (name) VALUES ($1)
            ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING generation";
        self.login(sql, name).await
    }

    /// Ends all logins of the user and returns a new one.
    async fn end_logins(&self, name: &str) -> Result<Login, Fault> {
        let sql = "UPDATE account_axum SET generation = generation + 1 WHERE name = $1
            RETURNING generation";
        self.login(sql, name).await
    }

    async fn login(&self, sql: &'static str, name: &str) -> Result<Login, Fault> {
        let name = name.to_owned();
        self.query(move |client| {
            let generation = client.query_one(sql, &[&name])?.try_get(0)?;
            Ok(Login { name, generation })
        })
        .await
    }

    /// Runs queries of the site on a connection of the store.
    async fn query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Client) -> Result<T, postgres::Error> + Send + 'static,
    ) -> Result<T, Fault> {
        Ok(self.store.run(|store| store.with_client(work)).await???)
    }
}

fn front_page(user: Option<&str>, visits: u64, message: Option<&str>) -> Html<String> {
    let message = message.map_or(String::new(), |text| {
        format!("<p role=status>{}</p>", escape(text))
    });
    let times = if visits == 1 { "time" } else { "times" };
    let count = format!("<p>You have been here <strong>{visits}</strong> {times}</p>");
    page(&match user {
        Some(name) => format!(
            "{message}<h1>Hello, {}</h1>{count}
            <nav><a href=/>Visit again</a>
            <form method=post action=/elsewhere><button>Log out everywhere else</button></form>
            <form method=post action=/logout><button>Log out</button></form></nav>",
            escape(name)
        ),
        None => format!(
            "{message}{count}
            <form method=post action=/login><label for=name>Your name</label>
            <input id=name name=name required maxlength=40 autocomplete=username>
            <button>Log in</button></form>
            <p><small>Any name will do: this example has no passwords.</small></p>"
        ),
    })
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
