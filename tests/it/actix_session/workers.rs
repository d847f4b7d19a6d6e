//! Workers with their own runtimes, which share one facade.

use std::{collections::HashSet, thread, time::Instant};

use actix_session::{Session, SessionMiddleware};
use actix_web::{App, HttpServer, cookie::Key, web::get};
use session_postgres::{Offload, actix_session::Adapter};

use crate::support::{
    PATIENCE,
    actix::Running,
    database::Schema,
    http::{Answer, send},
};

/// Counts the visit. Returns the count and the thread of the worker.
async fn count(session: Session) -> actix_web::Result<String> {
    let visits = session.get::<u32>("visits")?.unwrap_or(0) + 1;
    session.insert("visits", visits)?;
    Ok(format!("{visits} {:?}", thread::current().id()))
}

#[test]
fn each_worker_finds_the_sessions_of_the_others() {
    let schema = Schema::new();
    let store = Offload::new(schema.store());
    let site = move || {
        let sessions = SessionMiddleware::new(Adapter::new(store.clone()), Key::from(&[0; 64]));
        App::new().route("/", get().to(count)).wrap(sessions)
    };
    let running = Running::start(|listener| {
        let server = HttpServer::new(site).workers(4).disable_signals();
        server.listen(listener).unwrap().run()
    });

    let mut cookie: Option<String> = None;
    let (mut workers, mut visits) = (HashSet::new(), 0);
    let begun = Instant::now();
    while workers.len() < 4 {
        assert!(
            begun.elapsed() < PATIENCE,
            "only {} workers answer",
            workers.len()
        );
        let answer = Answer::read(send(running.address, "GET /", cookie.as_deref(), ""));
        visits += 1;
        let (count, worker) = answer.body.split_once(' ').unwrap();
        assert_eq!((answer.status, count), (200, visits.to_string().as_str()));
        workers.insert(worker.to_owned());
        cookie = Some(answer.cookie());
    }
    assert_eq!(schema.count("true"), 1);
}
