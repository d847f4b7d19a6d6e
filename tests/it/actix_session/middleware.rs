//! HTTP requests through the middleware of actix-session: the status and the cookie of each answer.

use actix_session::{
    Session, SessionMiddleware,
    config::{
        BrowserSession, CookieContentSecurity, PersistentSession, SessionLifecycle,
        TtlExtensionPolicy,
    },
};
use actix_web::{
    App, HttpRequest,
    cookie::{Cookie, CookieJar, Key as Secret},
    middleware::{Condition, from_fn},
    test::{TestRequest, init_service, try_call_service},
    web::{Data, Path, get},
};
use session_postgres::{AsyncStore, Key, Offload, PostgresStore, actix_session::conflict_if_ended};

use super::{Fixture, HALF_AN_HOUR, state, wait};

const NAME: &str = "id";

fn secret() -> Secret {
    Secret::from(&[0; 64])
}

/// Returns the cookie with the key of a session.
fn signed(key: &str) -> Cookie<'static> {
    let mut jar = CookieJar::new();
    jar.signed_mut(&secret())
        .add(Cookie::new(NAME, key.to_owned()));
    jar.get(NAME).unwrap().clone()
}

/// Does something to the session. If the path begins with `late`, another request has ended the session before that.
async fn page(
    path: Path<(String, String)>,
    session: Session,
    store: Data<Offload<PostgresStore>>,
    request: HttpRequest,
) -> actix_web::Result<String> {
    let (when, action) = path.into_inner();
    if when == "late" {
        let cookie = request.cookie(NAME).unwrap();
        let mut jar = CookieJar::new();
        jar.add_original(cookie);
        let key: Key = jar
            .signed(&secret())
            .get(NAME)
            .unwrap()
            .value()
            .parse()
            .unwrap();
        store.clear(&key).await.unwrap();
    }
    match action.as_str() {
        "change" => session.insert("text", "crab")?,
        "purge" => session.purge(),
        "renew" => session.renew(),
        "fail" => return Err(actix_web::error::ErrorInternalServerError("crab")),
        _ => {}
    }
    Ok(action)
}

#[derive(Debug, PartialEq)]
enum Sent {
    Nothing,
    Removal,
    /// The key in the cookie.
    Key(String),
}

/// Returns the status and the cookie of the answer to a visitor whose cookie contains `key`.
fn ask(
    on: &Fixture,
    lifecycle: impl Into<SessionLifecycle>,
    tells_conflicts: bool,
    path: &str,
    key: &str,
) -> (u16, Sent) {
    wait(async {
        let sessions = SessionMiddleware::builder(on.adapter.clone(), secret())
            .cookie_content_security(CookieContentSecurity::Signed)
            .session_lifecycle(lifecycle);
        let site = App::new()
            .app_data(Data::new(on.store.clone()))
            .route("/{when}/{action}", get().to(page))
            .wrap(sessions.build())
            .wrap(Condition::new(tells_conflicts, from_fn(conflict_if_ended)));
        let site = init_service(site).await;
        let request = TestRequest::get().uri(path).cookie(signed(key));
        let response = match try_call_service(&site, request.to_request()).await {
            Ok(answer) => answer.into_parts().1.drop_body(),
            Err(error) => error.error_response().drop_body(),
        };
        let cookie = response.cookies().next();
        let sent = match cookie {
            None => Sent::Nothing,
            Some(cookie) if cookie.value().is_empty() => Sent::Removal,
            Some(cookie) => {
                let mut jar = CookieJar::new();
                jar.add_original(cookie.into_owned());
                let cookie = jar.signed(&secret()).get(NAME).unwrap();
                Sent::Key(cookie.value().to_owned())
            }
        };
        (response.status().as_u16(), sent)
    })
}

fn persistent(policy: TtlExtensionPolicy) -> SessionLifecycle {
    PersistentSession::default()
        .session_ttl(HALF_AN_HOUR)
        .session_ttl_extension_policy(policy)
        .into()
}

fn browser(policy: TtlExtensionPolicy) -> SessionLifecycle {
    BrowserSession::default()
        .state_ttl(HALF_AN_HOUR)
        .state_ttl_extension_policy(policy)
        .into()
}

/// A site whose session ends when the session is not changed, and one whose session does not.
fn lifecycles() -> [(SessionLifecycle, bool); 4] {
    [
        (persistent(TtlExtensionPolicy::OnStateChanges), false),
        (persistent(TtlExtensionPolicy::OnEveryRequest), true),
        (browser(TtlExtensionPolicy::OnStateChanges), false),
        (browser(TtlExtensionPolicy::OnEveryRequest), true),
    ]
}

#[test]
fn a_request_whose_session_has_ended_gets_a_conflict_and_no_cookie() {
    let on = Fixture::new();
    for (tells_conflicts, status) in [(true, 409), (false, 500)] {
        for (lifecycle, extends) in lifecycles() {
            let late = |path| {
                ask(
                    &on,
                    lifecycle.clone(),
                    tells_conflicts,
                    path,
                    &on.saved("lobster"),
                )
            };
            assert_eq!(
                late("/late/change"),
                (status, Sent::Nothing),
                "{lifecycle:?}"
            );
            let read = if extends { status } else { 200 };
            assert_eq!(late("/late/read"), (read, Sent::Nothing), "{lifecycle:?}");
            assert_eq!(late("/late/purge"), (200, Sent::Removal), "{lifecycle:?}");
            assert_eq!(on.schema.count("true"), 0);
        }
    }
}

#[test]
fn a_request_that_renews_a_session_that_has_ended_creates_one_as_documented() {
    let on = Fixture::new();
    let key = on.saved("lobster");
    let lifecycle = persistent(TtlExtensionPolicy::OnStateChanges);
    let (status, sent) = ask(&on, lifecycle, true, "/late/renew", &key);
    let Sent::Key(new) = sent else {
        panic!("{sent:?}")
    };
    assert_eq!(status, 200);
    assert_ne!(new, key);
    assert_eq!(on.load(&new).unwrap(), Some(state("lobster")));
}

#[test]
fn a_session_that_has_not_ended_keeps_its_cookie() {
    let on = Fixture::new();
    for tells_conflicts in [true, false] {
        for (lifecycle, extends) in lifecycles() {
            let key = on.saved("lobster");
            let soon = |path| ask(&on, lifecycle.clone(), tells_conflicts, path, &key);
            assert_eq!(soon("/now/change"), (200, Sent::Key(key.clone())));
            let is_persistent = matches!(lifecycle, SessionLifecycle::PersistentSession(_));
            let (status, sent) = soon("/now/read");
            assert_eq!(
                (status, sent == Sent::Key(key.clone())),
                (200, extends && is_persistent)
            );
            assert_eq!(soon("/now/purge"), (200, Sent::Removal));
            assert_eq!(on.schema.count("true"), 0);
        }
    }
}

#[test]
fn an_update_extends_the_session_and_a_read_only_if_the_policy_says_so() {
    let on = Fixture::new();
    for (lifecycle, extends) in lifecycles() {
        let key = on.saved("lobster");
        for (path, extends) in [("/now/read", extends), ("/now/change", true)] {
            on.schema
                .run("UPDATE session SET expire_date = now() + interval '1 minute'");
            assert_eq!(ask(&on, lifecycle.clone(), true, path, &key).0, 200);
            assert_eq!(on.left(&key) > 1_700.0, extends, "{lifecycle:?}: {path}");
        }
    }
}

#[test]
fn a_key_that_a_client_invents_never_becomes_a_session() {
    let on = Fixture::new();
    for invented in [
        &"x".repeat(40),
        &"x".repeat(64),
        "",
        "two words",
        &"x".repeat(4_064),
    ] {
        let lifecycle = || persistent(TtlExtensionPolicy::OnEveryRequest);
        assert_eq!(
            ask(&on, lifecycle(), true, "/now/read", invented),
            (200, Sent::Nothing)
        );
        let (status, sent) = ask(&on, lifecycle(), true, "/now/change", invented);
        let Sent::Key(key) = sent else {
            panic!("{sent:?}")
        };
        assert_eq!((status, key.len()), (200, 40));
        assert_ne!(key, invented);
        assert_eq!(on.load(&key).unwrap(), Some(state("crab")));
        assert_eq!(on.load(invented).unwrap(), None);
    }
}

#[test]
fn if_the_store_fails_the_answer_is_500_without_a_cookie() {
    let on = Fixture::new();
    let key = on.saved("lobster");
    let ask = |path, key: &str| {
        let lifecycle = persistent(TtlExtensionPolicy::OnEveryRequest);
        ask(&on, lifecycle, true, path, key)
    };
    on.schema.run("ALTER TABLE session RENAME TO other");
    for path in ["/now/read", "/now/change", "/now/purge", "/now/renew"] {
        assert_eq!(ask(path, &key), (500, Sent::Nothing), "{path}");
    }
    assert_eq!(ask("/now/change", ""), (500, Sent::Nothing));
    on.schema.run("ALTER TABLE other RENAME TO session");
    assert_eq!(ask("/now/change", &key), (200, Sent::Key(key.clone())));
}

#[test]
fn an_error_of_a_handler_is_not_changed() {
    let on = Fixture::new();
    let lifecycle = persistent(TtlExtensionPolicy::OnStateChanges);
    let key = on.saved("lobster");
    assert_eq!(
        ask(&on, lifecycle, true, "/late/fail", &key),
        (500, Sent::Nothing)
    );
}

#[test]
fn a_row_that_is_not_a_state_counts_as_an_empty_one() {
    let on = Fixture::new();
    let key = on.saved("lobster");
    on.schema.run("UPDATE session SET session_data = 'lobster'");
    let lifecycle = || persistent(TtlExtensionPolicy::OnStateChanges);
    assert_eq!(
        ask(&on, lifecycle(), true, "/now/read", &key),
        (200, Sent::Nothing)
    );
    assert_eq!(on.schema.count("session_data = 'lobster'"), 1);
    assert_eq!(
        ask(&on, lifecycle(), true, "/now/change", &key),
        (200, Sent::Key(key.clone()))
    );
    assert_eq!(on.load(&key).unwrap(), Some(state("crab")));
}
