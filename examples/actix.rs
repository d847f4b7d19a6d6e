//! A site with a login and a list of the user's devices, with actix-web and actix-session. The pages are those of the
//! example `axum`.
//!
//! `tests/with-postgres cargo run --example actix --features actix-session` starts a PostgreSQL server that stops with
//! the program. If `DATABASE_URL` is set, the example uses that database and keeps its sessions in the table
//! `session_actix`.
//!
//! `LISTEN` and `ORIGIN` set the address: see `web/address.rs`. If `ORIGIN` begins with `https`, `COOKIE_SECRET` must be
//! set.

/// The parts that examples share.
mod web {
    pub(crate) mod address;
    pub(crate) mod login;
    mod page;
    mod stop;
    mod words;

    pub(crate) use self::{
        address::Address,
        page::{HEADERS, page},
        stop::{SHUTDOWN_TIMEOUT, stop_signal},
        words::in_words,
    };
}

use std::{env, error::Error as StdError, fmt, time::Duration};

use actix_session::{
    Session, SessionMiddleware,
    config::{CookieContentSecurity, PersistentSession},
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, Responder, ResponseError,
    body::{BoxBody, MessageBody},
    cookie::{self, CookieJar, SameSite},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::{Next, from_fn},
    web::{Data, Form, Redirect, get, post},
};
use serde::Deserialize;
use session_postgres::{
    AsyncStore, Error, Key, Offload, Period, PostgresStore,
    actix_session::{Adapter, conflict_if_ended},
};
use throwaway_postgres::Database;

use self::web::{
    address::{OTHER_SITE, Origin},
    login,
};

type Fault = Box<dyn StdError + Send + Sync>;
/// Clones share the connections.
type Store = Offload<PostgresStore>;
type Answer<T> = Result<T, actix_web::Error>;

/// A session and its cookie expire this long after the last change.
const PERIOD: Period = Period::minutes(30);
/// The time limit of each call to the database.
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Fault> {
    let address = web::Address::bind()?;
    let cookie = SessionCookie::new(address.needs_secure_cookies())?;
    // Opening and dropping the database blocks, so both happen outside the async runtime.
    let database = Database::open()?;
    serve(address, cookie, database.url())
}

#[actix_web::main]
async fn serve(
    address: web::Address,
    cookie: SessionCookie,
    database_url: &str,
) -> Result<(), Fault> {
    let store = open_store(database_url).await?;
    let origin = address.origin.clone();
    // Each worker has its own runtime. All share one store. Every change is a POST request, because
    // `reject_other_sites` rejects those of other sites.
    let site = move || {
        App::new()
            .app_data(Data::new(store.clone()))
            .app_data(Data::new(cookie.clone()))
            .app_data(Data::new(origin.clone()))
            .route("/", get().to(visit))
            .route("/login", post().to(log_in))
            .route("/logout", post().to(log_out))
            .route("/goodbye", get().to(goodbye))
            .route("/devices", get().to(devices))
            .route("/devices/logout", post().to(log_out_device))
            .route("/elsewhere", post().to(log_out_elsewhere))
            .wrap(cookie.middleware(store.clone()))
            .wrap(from_fn(conflict_if_ended))
            .wrap(from_fn(reject_other_sites))
            .wrap(from_fn(complete))
    };
    let stop = web::stop_signal()?;
    let server = HttpServer::new(site)
        .disable_signals()
        .shutdown_timeout(web::SHUTDOWN_TIMEOUT.as_secs());
    address.announce();
    let server = server.listen(address.listener)?.run();
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        stop.await;
        // Requests in progress are answered first. actix-server before 2.10 may cut them.
        handle.stop(true).await;
    });
    server.await?;
    println!("Stopped.");
    Ok(())
}

/// With the default table and timeout, `Offload::connect(database_url)` is enough.
async fn open_store(database_url: &str) -> Result<Store, Error> {
    let options = PostgresStore::builder().table("session_actix")?;
    let facade = Offload::builder().timeout(TIMEOUT);
    let store = facade.connect(options, database_url).await?;
    store.run(|store| store.create_table()).await??;
    Ok(store)
}

/// The cookie that contains the key of a session.
#[derive(Clone)]
struct SessionCookie {
    name: &'static str,
    secret: cookie::Key,
    is_secure: bool,
}

impl SessionCookie {
    /// actix-session signs its cookies, so it needs a secret. A visitor whose cookie was signed with another one is logged
    /// out. So an operator chooses it once, and passes it at each start and to all machines.
    ///
    /// On plain HTTP on this machine, the secret is not secret. Sessions are safe nevertheless: the key of a session is
    /// random, and a key that is not in the table is not a session.
    fn new(is_secure: bool) -> Result<SessionCookie, Fault> {
        let secret = match env::var("COOKIE_SECRET") {
            Ok(secret) if secret.len() >= 32 => cookie::Key::derive_from(secret.as_bytes()),
            Err(env::VarError::NotPresent) if !is_secure => cookie::Key::from(&[0; 64]),
            _ => {
                let why = "set COOKIE_SECRET to at least 32 random characters, the same at each start: \
                           openssl rand -hex 32";
                return Err(why.into());
            }
        };
        Ok(SessionCookie {
            // With this prefix, browsers accept the cookie only from this host, and only if it is Secure.
            name: if is_secure { "__Host-actix" } else { "actix" },
            secret,
            is_secure,
        })
    }

    fn middleware(&self, store: Store) -> SessionMiddleware<Adapter<Store>> {
        // The entry `user` of a session becomes its owner, by which all logins of a user are found. A real site uses the
        // id of the account, which never changes.
        let adapter = Adapter::new(store).with_owner("user");
        SessionMiddleware::builder(adapter, self.secret.clone())
            .cookie_name(self.name.to_owned())
            // The key of a session means nothing without the table, so it needs no encryption.
            .cookie_content_security(CookieContentSecurity::Signed)
            .cookie_http_only(true)
            .cookie_same_site(SameSite::Lax)
            .cookie_secure(self.is_secure)
            .session_lifecycle(PersistentSession::default().session_ttl(PERIOD))
            .build()
    }

    /// Returns the key of a session. actix-session does not tell it, but it is in the cookie of the request.
    fn key(&self, request: &HttpRequest) -> Answer<Key> {
        let mut jar = CookieJar::new();
        if let Some(cookie) = request.cookie(self.name) {
            jar.add_original(cookie);
        }
        let cookie = jar.signed(&self.secret).get(self.name);
        let key = cookie.and_then(|cookie| cookie.value().parse().ok());
        Ok(key.ok_or(Failure("the request has no session".into()))?)
    }
}

/// actix-session does not lock sessions, so one of two visits at the same time may not be counted. The example
/// `counter` counts both.
async fn visit(session: Session) -> Answer<HttpResponse> {
    let user = user(&session)?;
    let visits = session.get::<u64>("visits")?.unwrap_or(0) + 1;
    session.insert("visits", visits)?;
    let message = message(&session)?;
    let body = login::front_page(user.as_deref(), visits, message.as_deref());
    Ok(page(StatusCode::OK, &body))
}

/// Returns the user who is logged in to the session.
fn user(session: &Session) -> Answer<Option<String>> {
    Ok(session.get("user")?)
}

#[derive(Deserialize)]
struct LoginForm {
    name: String,
}

async fn log_in(
    session: Session,
    request: HttpRequest,
    form: Form<LoginForm>,
) -> Answer<impl Responder> {
    let name = form.name.trim();
    if !login::is_valid_name(name) {
        show_next(&session, login::INVALID_NAME)?;
        return Ok(see("/"));
    }
    // A real site would check a password here. Then the session gets a new key, so that a key which another person knows
    // or has planted in the browser (session fixation) is not logged in.
    session.renew();
    session.insert("user", name)?;
    let agent = request.headers().get(header::USER_AGENT);
    session.insert(
        "device",
        login::device_name(agent.map(HeaderValue::as_bytes)),
    )?;
    show_next(&session, &format!("Welcome, {name}."))?;
    Ok(see("/"))
}

async fn log_out(session: Session) -> impl Responder {
    session.purge();
    // Not to the front page, because that would begin a new session.
    see("/goodbye")
}

async fn goodbye() -> HttpResponse {
    page(StatusCode::OK, login::GOODBYE)
}

/// Lists the sessions to which the user is logged in. The page contains handles, and never a key.
async fn devices(
    store: Data<Store>,
    cookie: Data<SessionCookie>,
    session: Session,
    request: HttpRequest,
) -> Answer<HttpResponse> {
    let Some(user) = user(&session)? else {
        return Ok(see("/").respond_to(&request).map_into_boxed_body());
    };
    let here = cookie.key(&request)?.handle();
    let devices = store.owned(&user).await.map_err(Failure::from)?;
    let message = message(&session)?;
    let body = login::devices_page(&devices, &here, message.as_deref());
    Ok(page(StatusCode::OK, &body))
}

#[derive(Deserialize)]
struct DeviceForm {
    handle: String,
}

async fn log_out_device(
    store: Data<Store>,
    cookie: Data<SessionCookie>,
    session: Session,
    request: HttpRequest,
    form: Form<DeviceForm>,
) -> Answer<impl Responder> {
    let Some(user) = user(&session)? else {
        return Ok(see("/"));
    };
    // actix-session must end its own session: it could not update one that the store has removed.
    if form.handle == cookie.key(&request)?.handle() {
        session.purge();
        return Ok(see("/goodbye"));
    }
    // The handle of another user's session has no effect.
    let cleared = store.clear_handle(&user, &form.handle).await;
    let message = match cleared.map_err(Failure::from)? {
        true => login::LOGGED_OUT,
        false => login::NOT_LOGGED_IN,
    };
    show_next(&session, message)?;
    Ok(see("/devices"))
}

/// Ends all other logins of this user. Their requests that are still running cannot save their session.
async fn log_out_elsewhere(
    store: Data<Store>,
    cookie: Data<SessionCookie>,
    session: Session,
    request: HttpRequest,
) -> Answer<impl Responder> {
    let Some(user) = user(&session)? else {
        return Ok(see("/"));
    };
    let here = cookie.key(&request)?;
    let cleared = store.clear_owned(&user, Some(&here)).await;
    cleared.map_err(Failure::from)?;
    show_next(&session, login::LOGGED_OUT_ELSEWHERE)?;
    Ok(see("/devices"))
}

/// Shows a message on the next page only.
fn show_next(session: &Session, message: &str) -> Answer<()> {
    Ok(session.insert("message", message)?)
}

/// Returns the message for this page.
fn message(session: &Session) -> Answer<Option<String>> {
    let message = session.get("message")?;
    session.remove("message");
    Ok(message)
}

fn see(path: &'static str) -> Redirect {
    Redirect::to(path).see_other()
}

fn page(status: StatusCode, body: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .body(web::page("actix-web and actix-session", body))
}

/// An error of a handler. The answer is 500.
#[derive(Debug)]
struct Failure(Fault);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error.into())
    }
}

/// Rejects changes that a page of another site requests. See [`Origin::is_other`].
async fn reject_other_sites(
    origin: Data<Origin>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Answer<ServiceResponse<BoxBody>> {
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let is_other = origin.is_other(header("sec-fetch-site"), header("origin"));
    if is_other && !request.method().is_safe() {
        return Ok(request.into_response(page(StatusCode::FORBIDDEN, OTHER_SITE)));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// Adds the headers of all responses, and shows errors to the visitor without details: those of this program, and those of
/// actix-session.
async fn complete(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Answer<ServiceResponse<BoxBody>> {
    match next.call(request).await {
        Ok(response) => {
            let mut response = response.map_into_boxed_body();
            if let Some(error) = response
                .response()
                .error()
                .filter(|_| response.status().is_server_error())
            {
                let sorry = sorry(error);
                response = response.into_response(sorry);
            }
            add_headers(response.headers_mut());
            Ok(response)
        }
        Err(error) => {
            let mut response = sorry(&error);
            add_headers(response.headers_mut());
            Err(InternalError::from_response(error, response).into())
        }
    }
}

fn sorry(error: &actix_web::Error) -> HttpResponse {
    eprintln!("actix: {error:?}");
    page(error.as_response_error().status_code(), login::SORRY)
}

fn add_headers(headers: &mut HeaderMap) {
    for (name, value) in web::HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
}
