//! A site with axum-login and axum-messages, which use tower-sessions 0.14.

use std::convert::Infallible;

use axum::{
    Form, Router,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use axum_login::{AuthManagerLayerBuilder, AuthUser, AuthnBackend, login_required};
use axum_messages::{Messages, MessagesManagerLayer};
use serde::Deserialize;
use session_postgres::{Offload, Period};
use tower_sessions_0_14::{Expiry, SessionManagerLayer};

use crate::{
    adapters::{Server, Visitor, axum::serve},
    support::{database::Schema, http::Answer},
};

type AuthSession = axum_login::AuthSession<Users>;

/// Knows one user, Ada.
#[derive(Debug, Clone)]
struct Users;

#[derive(Debug, Clone)]
struct User;

#[derive(Debug, Clone, Deserialize)]
struct Login {
    password: String,
}

impl AuthUser for User {
    type Id = u64;

    fn id(&self) -> u64 {
        1
    }

    fn session_auth_hash(&self) -> &[u8] {
        b"hash of lobster"
    }
}

impl AuthnBackend for Users {
    type User = User;
    type Credentials = Login;
    type Error = Infallible;

    async fn authenticate(&self, login: Login) -> Result<Option<User>, Infallible> {
        Ok((login.password == "lobster").then_some(User))
    }

    async fn get_user(&self, id: &u64) -> Result<Option<User>, Infallible> {
        Ok((*id == 1).then_some(User))
    }
}

struct Failed;

impl<E: std::error::Error> From<E> for Failed {
    fn from(_: E) -> Failed {
        Failed
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

async fn home(messages: Messages) -> String {
    format!("Hello, Ada. {}", texts(messages))
}

async fn login_form(messages: Messages) -> String {
    format!("Log in. {}", texts(messages))
}

fn texts(messages: Messages) -> String {
    messages.map(|message| message.message).collect()
}

async fn log_in(
    mut auth: AuthSession,
    messages: Messages,
    Form(login): Form<Login>,
) -> Result<Redirect, Failed> {
    let Some(user) = auth.authenticate(login).await? else {
        messages.error("The password is wrong.");
        return Ok(Redirect::to("/login"));
    };
    auth.login(&user).await?;
    messages.success("You are logged in.");
    Ok(Redirect::to("/"))
}

async fn log_out(mut auth: AuthSession) -> Result<Redirect, Failed> {
    auth.logout().await?;
    Ok(Redirect::to("/login"))
}

async fn log_out_with_message(
    mut auth: AuthSession,
    messages: Messages,
) -> Result<Redirect, Failed> {
    auth.logout().await?;
    auth.session.cycle_id().await?;
    messages.success("Goodbye.");
    Ok(Redirect::to("/login"))
}

fn start(schema: &Schema) -> Server {
    let sessions = SessionManagerLayer::new(Offload::new(schema.store()))
        .with_expiry(Expiry::OnInactivity(Period::minutes(30)));
    let logins = AuthManagerLayerBuilder::new(Users, sessions).build();
    let site = Router::new()
        .route("/", get(home))
        .route("/logout", post(log_out))
        .route("/goodbye", post(log_out_with_message))
        .route_layer(login_required!(Users, login_url = "/login"))
        .route("/login", get(login_form).post(log_in))
        .layer(MessagesManagerLayer)
        .layer(logins);
    serve(site)
}

/// Checks that the answer sends the visitor to another page.
fn assert_leads_to(page: &str, answer: &Answer) {
    let location = answer.header("location").unwrap_or_default();
    assert!((300..400).contains(&answer.status), "{}", answer.status);
    assert_eq!(location.split('?').next(), Some(page));
}

fn assert_is_logged_out(visitor: &mut Visitor) {
    assert_leads_to("/login", &visitor.ask("GET /", ""));
}

#[test]
fn a_wrong_password_shows_its_message_once_and_does_not_log_in() {
    let schema = Schema::new();
    let site = start(&schema);
    let mut visitor = Visitor::new(site.address, None);
    assert_is_logged_out(&mut visitor);
    assert_eq!(visitor.cookie, None);

    assert_leads_to("/login", &visitor.ask("POST /login", "password=crab"));
    assert_eq!(visitor.visit("/login"), "Log in. The password is wrong.");
    assert_eq!(visitor.visit("/login"), "Log in. ");
    assert_is_logged_out(&mut visitor);
    assert_eq!(schema.count("true"), 1);
}

#[test]
fn a_login_and_a_logout_end_the_cookies_from_before() {
    let schema = Schema::new();
    let site = start(&schema);
    let with = |cookie: &str| Visitor::new(site.address, Some(cookie.to_owned()));
    let mut visitor = Visitor::new(site.address, None);
    visitor.ask("POST /login", "password=crab");
    let before = visitor.cookie();

    assert_leads_to("/", &visitor.ask("POST /login", "password=lobster"));
    let logged_in = visitor.cookie();
    assert_ne!(logged_in, before);
    assert_eq!(visitor.visit("/login"), "Log in. You are logged in.");
    for _ in 0..2 {
        assert_eq!(visitor.visit("/"), "Hello, Ada. ");
    }
    assert_is_logged_out(&mut with(&before));
    assert_eq!(with(&before).visit("/login"), "Log in. ");

    assert_leads_to("/login", &visitor.ask("POST /logout", ""));
    assert_eq!(visitor.cookie, None);
    assert_is_logged_out(&mut visitor);
    for cookie in [before, logged_in] {
        assert_is_logged_out(&mut with(&cookie));
    }
    assert_eq!(schema.count("true"), 0);
}

#[test]
fn a_message_after_the_logout_is_in_a_session_with_another_id() {
    let schema = Schema::new();
    let site = start(&schema);
    let mut visitor = Visitor::new(site.address, None);
    visitor.ask("POST /login", "password=lobster");
    let logged_in = visitor.cookie();
    assert_leads_to("/login", &visitor.ask("POST /goodbye", ""));
    assert_ne!(visitor.cookie(), logged_in);
    assert_eq!(visitor.visit("/login"), "Log in. Goodbye.");
    assert_is_logged_out(&mut visitor);
    let mut other = Visitor::new(site.address, Some(logged_in));
    assert_is_logged_out(&mut other);
    assert_eq!(schema.count("true"), 1);
}
