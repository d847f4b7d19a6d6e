//! Whole requests, through axum and tower-sessions' middleware.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use session_postgres::{Offload, Period, PostgresStore};
use throwaway_postgres::Server;
use tokio::sync::Notify;
use tower::ServiceExt;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore, session};

use super::{Fixture, in_time};
use crate::support::{database::Schema, wait_until};

const HALF_AN_HOUR: Expiry = Expiry::OnInactivity(Period::minutes(30));

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

/// Changes the session, tells the test, and ends when that says so.
async fn linger(State(linger): State<Arc<Linger>>, session: Session) -> Answer<()> {
    session.insert("visits", 1000).await?;
    linger.arrived.notify_one();
    linger.go.notified().await;
    Ok(())
}

#[derive(Default)]
struct Linger {
    arrived: Notify,
    go: Notify,
}

#[derive(Clone)]
pub(super) struct Site {
    router: Router,
    linger: Arc<Linger>,
}

pub(super) fn site(store: impl SessionStore + Clone, expiry: Expiry) -> Site {
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
        .with_state(linger_state.clone())
        .layer(SessionManagerLayer::new(store).with_expiry(expiry));
    Site {
        router,
        linger: linger_state,
    }
}

pub(super) struct Page {
    pub(super) status: u16,
    pub(super) set_cookie: Option<String>,
    pub(super) body: String,
}

impl Page {
    /// The cookie, as a browser sends it back.
    pub(super) fn cookie(&self) -> String {
        let set = self.set_cookie.as_ref().expect("a cookie");
        set.split_once(';').unwrap().0.to_owned()
    }
}

impl Site {
    pub(super) async fn ask(&self, path: &str, cookie: Option<&str>) -> Page {
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

    /// The cookie of a visitor who has been here once.
    async fn visitor(&self) -> String {
        self.ask("/count", None).await.cookie()
    }
}

fn here() -> (Fixture, Site) {
    let on = Fixture::new();
    let site = site(on.store.clone(), HALF_AN_HOUR);
    (on, site)
}

#[test]
fn a_session_begins_with_a_cookie_that_no_script_reads() {
    let (on, site) = here();
    on.wait(async {
        let first = site.ask("/count", None).await;
        assert_eq!((first.status, first.body.as_str()), (200, "1"));
        let set = first.set_cookie.as_ref().unwrap();
        for attribute in [
            "HttpOnly",
            "SameSite=Strict",
            "Secure",
            "Path=/",
            "Max-Age=1800",
        ] {
            assert!(set.contains(attribute), "{set}");
        }
        let cookie = first.cookie();
        assert_eq!(cookie.len(), "id=".len() + 22);
        let second = site.ask("/count", Some(&cookie)).await;
        assert_eq!(
            (second.body.as_str(), second.cookie()),
            ("2", cookie.clone())
        );
        // Reading changes nothing, so nothing is sent.
        let third = site.ask("/peek", Some(&cookie)).await;
        assert_eq!((third.body.as_str(), third.set_cookie), ("Some(2)", None));
    });
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn who_stores_nothing_gets_no_session() {
    let (on, site) = here();
    on.wait(async {
        for path in ["/", "/peek"] {
            assert_eq!(site.ask(path, None).await.set_cookie, None);
        }
    });
    assert_eq!(on.schema.count("true"), 0);
}

#[test]
fn a_forged_cookie_never_becomes_a_session() {
    let (on, site) = here();
    on.wait(async {
        for id in [
            "AAAAAAAAAAAAAAAAAAAAAA",
            "malformed",
            "",
            "'",
            "AAAAAAAAAAAAAAAAAAAAAB",
        ] {
            let sent = format!("id={id}");
            let counted = site.ask("/count", Some(&sent)).await;
            assert_eq!((counted.status, counted.body.as_str()), (200, "1"));
            assert_ne!(counted.cookie(), sent);
        }
        // The middleware takes such an id at its word.
        let cleared = site.ask("/clear", Some("id=AAAAAAAAAAAAAAAAAAAAAA")).await;
        assert_eq!((cleared.status, cleared.set_cookie), (500, None));
    });
    assert_eq!(on.schema.count("session_key = 'AAAAAAAAAAAAAAAAAAAAAA'"), 0);
    assert_eq!(on.schema.count("true"), 5);
}

#[test]
fn a_value_that_is_removed_is_gone() {
    let (on, site) = here();
    on.wait(async {
        let cookie = site.visitor().await;
        assert_eq!(site.ask("/remove", Some(&cookie)).await.status, 200);
        assert_eq!(site.ask("/peek", Some(&cookie)).await.body, "None");
    });
}

#[test]
fn a_cycled_session_has_another_id_and_the_old_one_is_worth_nothing() {
    let (on, site) = here();
    on.wait(async {
        let old = site.visitor().await;
        let cycled = site.ask("/cycle", Some(&old)).await;
        let new = cycled.cookie();
        assert_ne!(new, old);
        assert_eq!(site.ask("/count", Some(&new)).await.body, "2");
        assert_eq!(site.ask("/peek", Some(&old)).await.body, "None");
    });
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn a_flushed_session_is_gone_and_so_is_its_cookie() {
    let (on, site) = here();
    let cookie = on.wait(site.visitor());
    on.wait(async {
        let flushed = site.ask("/flush", Some(&cookie)).await;
        assert_eq!((flushed.status, flushed.cookie().as_str()), (200, "id="));
        let removal = flushed.set_cookie.unwrap();
        assert!(
            removal.contains("Max-Age=0") && removal.contains("Path=/"),
            "{removal}"
        );
        // Why the documentation warns of the names `__Host-` and `__Secure-`.
        assert!(!removal.contains("Secure"), "{removal}");
    });
    assert_eq!(on.schema.count("true"), 0);
    on.wait(async {
        let again = site.ask("/count", Some(&cookie)).await;
        assert_eq!(again.body, "1");
        assert_ne!(again.cookie(), cookie);
    });
}

/// Why the documentation says what may come under the old id again.
#[test]
fn what_is_stored_after_a_flush_is_all_that_the_session_has() {
    let (on, site) = here();
    on.wait(async {
        let cookie = site.visitor().await;
        let answer = site.ask("/flush-and-store", Some(&cookie)).await;
        assert_eq!((answer.status, answer.cookie()), (200, cookie));
    });
    assert_eq!(on.schema.count("true"), 1);
    assert_eq!(on.schema.count(r#"session_data = '{"text":"crab"}'"#), 1);
}

#[test]
fn an_expired_session_begins_anew_under_another_id() {
    let (on, site) = here();
    let cookie = on.wait(site.visitor());
    on.schema
        .run("UPDATE session SET expire_date = now() - interval '1 second'");
    on.wait(async {
        assert_eq!(site.ask("/peek", Some(&cookie)).await.body, "None");
        let again = site.ask("/count", Some(&cookie)).await;
        assert_eq!((again.status, again.body.as_str()), (200, "1"));
        assert_ne!(again.cookie(), cookie);
    });
}

#[test]
fn a_session_expires_by_itself() {
    let on = Fixture::new();
    let site = site(
        on.store.clone(),
        Expiry::OnInactivity(Period::milliseconds(300)),
    );
    on.wait(async {
        let cookie = site.visitor().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(site.ask("/count", Some(&cookie)).await.body, "1");
    });
}

#[test]
fn an_expiry_that_a_request_sets_is_the_row_s_and_the_cookie_s() {
    let (on, site) = here();
    on.wait(async {
        let cookie = site.visitor().await;
        let set = site
            .ask("/prolong", Some(&cookie))
            .await
            .set_cookie
            .unwrap();
        let (_, age) = set.split_once("Max-Age=").unwrap();
        assert!((86_380..=86_400).contains(&age.parse().unwrap()), "{set}");
    });
    let tomorrow = "abs(extract(epoch FROM expire_date - now()) - 86400) < 20";
    assert_eq!(on.schema.count(tomorrow), 1);
}

#[test]
fn two_hundred_requests_of_one_visitor_at_the_same_time_are_all_answered() {
    let (on, site) = here();
    on.wait(async {
        let cookie = site.visitor().await;
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (site, cookie) = (site.clone(), cookie.clone());
                tokio::spawn(async move { site.ask("/count", Some(&cookie)).await })
            })
            .collect();
        for task in tasks {
            let answer = task.await.unwrap();
            assert_eq!((answer.status, answer.cookie()), (200, cookie.clone()));
        }
        // The middleware has no lock: the last wins.
        let visits: u64 = site
            .ask("/count", Some(&cookie))
            .await
            .body
            .parse()
            .unwrap();
        assert!((3..=202).contains(&visits), "{visits}");
    });
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn a_request_that_ends_after_the_logout_brings_nothing_back() {
    let (on, site) = here();
    let late = on.wait(late(&site, "/flush"));
    assert_eq!((late.status, late.set_cookie), (500, None));
    assert_eq!(on.schema.count("true"), 0);
}

#[test]
fn a_request_that_ends_after_the_login_does_not_put_the_old_cookie_over_the_new() {
    let (on, site) = here();
    let late = on.wait(late(&site, "/cycle"));
    assert_eq!((late.status, late.set_cookie), (500, None));
    assert_eq!(on.schema.count("true"), 1);
    assert_eq!(on.schema.count("session_data LIKE '%1000%'"), 0);
}

/// The answer to a request that has changed its session before another came and went.
async fn late(site: &Site, other: &str) -> Page {
    let cookie = site.visitor().await;
    let late = tokio::spawn({
        let (site, cookie) = (site.clone(), cookie.clone());
        async move { site.ask("/linger", Some(&cookie)).await }
    });
    site.linger.arrived.notified().await;
    assert_eq!(site.ask(other, Some(&cookie)).await.status, 200);
    site.linger.go.notify_one();
    late.await.unwrap()
}

#[test]
fn a_failing_store_is_an_error_to_the_request_and_sets_no_cookie() {
    let (on, site) = here();
    let cookie = on.wait(site.visitor());
    on.schema.run("ALTER TABLE session RENAME TO other");
    on.wait(async {
        for path in ["/count", "/peek", "/cycle", "/flush"] {
            let answer = site.ask(path, Some(&cookie)).await;
            assert_eq!((answer.status, answer.set_cookie), (500, None), "{path}");
            assert!(answer.body.contains("does not exist"), "{}", answer.body);
        }
        let begun = site.ask("/count", None).await;
        assert_eq!((begun.status, begun.set_cookie), (500, None));
    });
    on.schema.run("ALTER TABLE other RENAME TO session");
    assert_eq!(on.wait(site.ask("/count", Some(&cookie))).body, "2");
}

#[test]
fn no_visitor_notices_that_the_server_is_restarted() {
    // Else a crash may lose what was committed.
    let server = Server::builder()
        .setting("synchronous_commit", "on")
        .start()
        .unwrap();
    let schema = Schema::on(server.url());
    let store: PostgresStore = schema.store();
    let on = Fixture::of(store, schema);
    let site = site(Offload::clone(&on.store), HALF_AN_HOUR);
    let done = Arc::new(AtomicBool::new(false));
    let (visits, visitors): (Vec<_>, Vec<_>) = (0..8)
        .map(|_| {
            let (site, done) = (site.clone(), done.clone());
            let visits = Arc::new(AtomicU64::new(1));
            let made = visits.clone();
            let visitor = on.runtime.spawn(async move {
                let cookie = site.visitor().await;
                while !done.load(Ordering::Relaxed) {
                    let visits = made.fetch_add(1, Ordering::Relaxed) + 1;
                    let answer = site.ask("/count", Some(&cookie)).await;
                    assert_eq!((answer.status, answer.body), (200, visits.to_string()));
                }
            });
            (visits, visitor)
        })
        .unzip();
    let each_visits_again = || {
        for visits in &visits {
            let before = visits.load(Ordering::Relaxed);
            // The one under way may be from before.
            wait_until("two more visits", || {
                visits.load(Ordering::Relaxed) >= before + 2
            });
        }
    };
    each_visits_again();
    server.restart().unwrap();
    each_visits_again();
    server.kill().unwrap();
    server.start_again().unwrap();
    each_visits_again();
    done.store(true, Ordering::Relaxed);
    for visitor in visitors {
        on.wait(visitor).unwrap();
    }
    assert_eq!(on.schema.count("true"), 8);
}
