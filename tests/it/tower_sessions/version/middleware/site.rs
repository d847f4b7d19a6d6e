//! A web site with one page for each thing that a handler can do with its session.

use std::sync::Arc;

use super::super::tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore, session};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use session_postgres::Period;
use tokio::sync::{Notify, Semaphore};
use tower::ServiceExt;

use super::super::in_time;

#[derive(Clone)]
pub(crate) struct Site {
    router: Router,
    pub(super) linger: Arc<Linger>,
}

pub(crate) fn site(store: impl SessionStore + Clone, expiry: Expiry) -> Site {
    site_with(SessionManagerLayer::new(store).with_expiry(expiry))
}

pub(super) fn site_with<S: SessionStore + Clone>(sessions: SessionManagerLayer<S>) -> Site {
    let linger_state = Arc::new(Linger::default());
    let router = Router::new()
        .route("/", get(|_: Session| async { "hello" }))
        .route("/count", get(count))
        .route("/peek", get(peek))
        .route("/remove", get(remove))
        .route("/cycle", get(cycle))
        .route("/flush", get(flush))
        .route("/flush-and-store", get(flush_and_store))
        .route("/prolong", get(prolong))
        .route(
            "/clear",
            get(|session: Session| async move { session.clear().await }),
        )
        .route("/linger", get(linger))
        .route("/read-slowly", get(read_slowly))
        .with_state(linger_state.clone())
        .layer(sessions);
    Site {
        router,
        linger: linger_state,
    }
}

pub(super) struct Linger {
    pub(super) arrived: Notify,
    pub(super) go: Notify,
    /// Has a permit for each page that has read its session.
    pub(super) has_read: Semaphore,
    /// Has a permit for each page that may answer.
    pub(super) may_answer: Semaphore,
}

impl Default for Linger {
    fn default() -> Linger {
        Linger {
            arrived: Notify::new(),
            go: Notify::new(),
            has_read: Semaphore::new(0),
            may_answer: Semaphore::new(0),
        }
    }
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

async fn count(session: Session) -> Answer<String> {
    let visits: u64 = session.get("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits).await?;
    Ok(visits.to_string())
}

async fn peek(session: Session) -> Answer<String> {
    let visits: Option<u64> = session.get("visits").await?;
    Ok(format!("{visits:?}"))
}

async fn remove(session: Session) -> Answer<()> {
    session.remove::<u64>("visits").await?;
    Ok(())
}

async fn cycle(session: Session) -> Answer<()> {
    Ok(session.cycle_id().await?)
}

async fn flush(session: Session) -> Answer<()> {
    Ok(session.flush().await?)
}

async fn flush_and_store(session: Session) -> Answer<()> {
    session.flush().await?;
    session.insert("text", "crab").await?;
    Ok(())
}

async fn prolong(session: Session) {
    session.set_expiry(Some(Expiry::AtDateTime(in_time(Period::DAY))));
}

/// Changes the session, then waits until the test lets it continue.
async fn linger(State(linger): State<Arc<Linger>>, session: Session) -> Answer<()> {
    session.insert("visits", 1000).await?;
    linger.arrived.notify_one();
    linger.go.notified().await;
    Ok(())
}

/// Reads the session, then waits until the test lets it answer.
async fn read_slowly(State(linger): State<Arc<Linger>>, session: Session) -> Answer<String> {
    let page = peek(session).await?;
    linger.has_read.add_permits(1);
    linger.may_answer.acquire().await.unwrap().forget();
    Ok(page)
}

impl Site {
    pub(crate) async fn ask(&self, path: &str, cookie: Option<&str>) -> Page {
        let mut request = Request::builder().uri(path);
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let set_cookie = response.headers().get(header::SET_COOKIE);
        let set_cookie = set_cookie.map(|value| value.to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Page {
            status,
            set_cookie,
            body: String::from_utf8(body.into()).unwrap(),
        }
    }

    /// Returns the cookie of a visitor after one visit.
    pub(super) async fn visitor(&self) -> String {
        self.ask("/count", None).await.cookie()
    }
}

pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) set_cookie: Option<String>,
    pub(crate) body: String,
}

impl Page {
    /// Returns the cookie as a browser sends it.
    pub(crate) fn cookie(&self) -> String {
        let set = self.set_cookie.as_ref().expect("a cookie");
        set.split_once(';').unwrap().0.to_owned()
    }
}
