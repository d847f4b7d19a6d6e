//! axum with tower-sessions. The module above chooses the version.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use session_postgres::{
    Offload, Period, PostgresStore,
    tower_sessions::{Adapter as AnyStore, IdleTimeout},
};

use super::tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore, session};
use crate::adapters::{Adapter, Gate, Server, axum::serve, test_rules};

mod offload {
    use super::*;

    struct Site;

    impl Adapter for Site {
        const LATE_READ: u16 = 200;
        const LATE_WRITE: u16 = 500;

        fn start(store: Offload<PostgresStore>, period: Period, gate: Arc<Gate>) -> Server {
            start(store, Expiry::OnInactivity(period), gate)
        }
    }

    test_rules!(Site);
}

mod any_store {
    use super::*;

    struct Site;

    impl Adapter for Site {
        const LATE_READ: u16 = 200;
        const LATE_WRITE: u16 = 500;

        fn start(store: Offload<PostgresStore>, period: Period, gate: Arc<Gate>) -> Server {
            let store = AnyStore::new(store);
            start(store, Expiry::OnInactivity(period), gate)
        }
    }

    test_rules!(Site);
}

mod idle_timeout {
    use super::*;

    struct Site;

    impl Adapter for Site {
        const LATE_READ: u16 = 200;
        const LATE_WRITE: u16 = 500;

        fn start(store: Offload<PostgresStore>, period: Period, gate: Arc<Gate>) -> Server {
            let store = IdleTimeout::new(store, period);
            start(store, Expiry::OnSessionEnd, gate)
        }
    }

    test_rules!(Site);
}

fn start(store: impl SessionStore + Clone, expiry: Expiry, gate: Arc<Gate>) -> Server {
    let sessions = SessionManagerLayer::new(store).with_expiry(expiry);
    let site = Router::new()
        .route("/read/{name}", get(read))
        .route("/write/{name}/{value}", get(write))
        .route("/login/{user}", get(log_in))
        .route("/logout", get(log_out))
        .route("/slow/{name}", get(read_slowly))
        .route("/slow/{name}/{value}", get(write_slowly))
        .layer(sessions)
        .with_state(gate);
    serve(site)
}

type Answer<T> = Result<T, Failed>;

struct Failed(session::Error);

impl From<session::Error> for Failed {
    fn from(error: session::Error) -> Failed {
        Failed(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response()
    }
}

async fn read(Path(name): Path<String>, session: Session) -> Answer<String> {
    let value: Option<String> = session.get(&name).await?;
    Ok(value.unwrap_or("nothing".to_owned()))
}

async fn write(Path((name, value)): Path<(String, String)>, session: Session) -> Answer<()> {
    Ok(session.insert(&name, value).await?)
}

async fn log_in(Path(user): Path<String>, session: Session) -> Answer<()> {
    session.cycle_id().await?;
    Ok(session.insert("user", user).await?)
}

async fn log_out(session: Session) -> Answer<()> {
    Ok(session.flush().await?)
}

async fn read_slowly(
    State(gate): State<Arc<Gate>>,
    name: Path<String>,
    session: Session,
) -> Answer<String> {
    let value = read(name, session).await?;
    gate.pass().await;
    Ok(value)
}

async fn write_slowly(
    State(gate): State<Arc<Gate>>,
    Path((name, value)): Path<(String, String)>,
    session: Session,
) -> Answer<()> {
    read(Path(name.clone()), session.clone()).await?;
    gate.pass().await;
    write(Path((name, value)), session).await
}
