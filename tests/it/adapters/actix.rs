//! actix-web with actix-session. Each of the four workers has its own runtime.

use std::sync::Arc;

use actix_session::{
    Session, SessionMiddleware,
    config::{CookieContentSecurity, PersistentSession, TtlExtensionPolicy},
};
use actix_web::{
    App, HttpServer,
    cookie::Key,
    middleware::{Condition, from_fn},
    web::{Data, Path, ServiceConfig, get},
};
use session_postgres::{
    Offload, Period, PostgresStore,
    actix_session::{Adapter as SessionStore, conflict_if_ended},
};

use super::{Adapter, Gate, Server};
use crate::support::actix::Running;

mod with_default_policy {
    use super::*;

    struct Actix;

    impl Adapter for Actix {
        const LATE_READ: u16 = 200;
        const LATE_WRITE: u16 = 409;

        fn start(store: Offload<PostgresStore>, period: Period, gate: Arc<Gate>) -> Server {
            super::start(store, gate, lifecycle(period), true)
        }
    }

    crate::adapters::test_rules!(Actix);
}

mod extending_on_every_request {
    use super::*;

    struct Actix;

    impl Adapter for Actix {
        const LATE_READ: u16 = 409;
        const LATE_WRITE: u16 = 409;

        fn start(store: Offload<PostgresStore>, period: Period, gate: Arc<Gate>) -> Server {
            let lifecycle =
                lifecycle(period).session_ttl_extension_policy(TtlExtensionPolicy::OnEveryRequest);
            super::start(store, gate, lifecycle, true)
        }
    }

    crate::adapters::test_rules!(Actix);
}

mod without_conflict_if_ended {
    use super::*;

    struct Actix;

    impl Adapter for Actix {
        const LATE_READ: u16 = 200;
        const LATE_WRITE: u16 = 500;

        fn start(store: Offload<PostgresStore>, period: Period, gate: Arc<Gate>) -> Server {
            super::start(store, gate, lifecycle(period), false)
        }
    }

    crate::adapters::test_rules!(Actix);
}

fn lifecycle(period: Period) -> PersistentSession {
    PersistentSession::default().session_ttl(period)
}

fn start(
    store: Offload<PostgresStore>,
    gate: Arc<Gate>,
    lifecycle: PersistentSession,
    tells_conflicts: bool,
) -> Server {
    let site = move || {
        let sessions =
            SessionMiddleware::builder(SessionStore::new(store.clone()), Key::from(&[0; 64]))
                // An encrypted cookie is different in each answer, even if its key is the same.
                .cookie_content_security(CookieContentSecurity::Signed)
                .session_lifecycle(lifecycle.clone());
        App::new()
            .app_data(Data::from(gate.clone()))
            .configure(pages)
            .wrap(sessions.build())
            .wrap(Condition::new(tells_conflicts, from_fn(conflict_if_ended)))
    };
    let running = Running::start(|listener| {
        let server = HttpServer::new(site).workers(4).disable_signals();
        server.listen(listener).unwrap().run()
    });
    Server {
        address: running.address,
        _stop: Box::new(running),
    }
}

fn pages(site: &mut ServiceConfig) {
    site.route("/read/{name}", get().to(read))
        .route("/write/{name}/{value}", get().to(write))
        .route("/login/{user}", get().to(log_in))
        .route("/logout", get().to(log_out))
        .route("/slow/{name}", get().to(read_slowly))
        .route("/slow/{name}/{value}", get().to(write_slowly));
}

type Answer<T> = actix_web::Result<T>;

async fn read(name: Path<String>, session: Session) -> Answer<String> {
    let value: Option<String> = session.get(&name)?;
    Ok(value.unwrap_or("nothing".to_owned()))
}

async fn write(entry: Path<(String, String)>, session: Session) -> Answer<String> {
    let (name, value) = entry.into_inner();
    session.insert(name, value)?;
    Ok(String::new())
}

async fn log_in(user: Path<String>, session: Session) -> Answer<String> {
    session.renew();
    session.insert("user", user.as_str())?;
    Ok(String::new())
}

async fn log_out(session: Session) -> String {
    session.purge();
    String::new()
}

async fn read_slowly(gate: Data<Gate>, name: Path<String>, session: Session) -> Answer<String> {
    let value = read(name, session).await?;
    gate.pass().await;
    Ok(value)
}

async fn write_slowly(
    gate: Data<Gate>,
    entry: Path<(String, String)>,
    session: Session,
) -> Answer<String> {
    gate.pass().await;
    write(entry, session).await
}
