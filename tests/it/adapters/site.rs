//! A site, and its visitors.

use std::{net::TcpStream, sync::Arc};

use session_postgres::{Offload, Period};

use super::{Adapter, Gate, Server};
use crate::support::{
    database::Schema,
    http::{Answer, send},
};

/// A running site on its own table.
pub(super) struct Site {
    server: Server,
    pub(super) gate: Arc<Gate>,
    pub(super) schema: Schema,
}

impl Site {
    pub(super) fn start<A: Adapter>() -> Site {
        Site::start_on::<A>(Schema::new(), Period::minutes(30))
    }

    pub(super) fn start_on<A: Adapter>(schema: Schema, period: Period) -> Site {
        let gate = Arc::new(Gate::new());
        Site {
            server: A::start(Offload::new(schema.store()), period, gate.clone()),
            gate,
            schema,
        }
    }

    pub(super) fn send(&self, path: &str, cookie: Option<&str>) -> TcpStream {
        send(self.server.address, &format!("GET {path}"), cookie, "")
    }

    /// Returns the answer to a request for a slow page, during which something else happens.
    pub(super) fn ask_slowly(&self, path: &str, cookie: &str, during: impl FnOnce()) -> Answer {
        let request = self.send(path, Some(cookie));
        self.gate.wait_for(1);
        during();
        self.gate.open(1);
        Answer::read(request)
    }

    /// A visitor without a cookie.
    pub(super) fn visitor(&self) -> Visitor<'_> {
        self.visitor_with(None)
    }

    pub(super) fn visitor_with(&self, cookie: Option<String>) -> Visitor<'_> {
        Visitor { site: self, cookie }
    }

    /// Checks that a cookie is dead: no value can be read with it.
    pub(super) fn assert_is_dead(&self, cookie: &str) {
        for name in ["user", "text"] {
            let mut visitor = self.visitor_with(Some(cookie.to_owned()));
            assert_eq!(visitor.read(name), "nothing", "{name}");
        }
    }
}

/// A browser that keeps the cookie of the site.
pub(super) struct Visitor<'a> {
    site: &'a Site,
    pub(super) cookie: Option<String>,
}

impl Visitor<'_> {
    pub(super) fn cookie(&self) -> String {
        self.cookie.clone().expect("a cookie")
    }

    pub(super) fn ask(&mut self, path: &str) -> Answer {
        let answer = Answer::read(self.site.send(path, self.cookie.as_deref()));
        self.keep_cookie(&answer);
        answer
    }

    /// Does with the cookie of an answer what browsers do: replaces or removes the own one.
    pub(super) fn keep_cookie(&mut self, answer: &Answer) {
        if let Some(set) = answer.header("set-cookie") {
            let is_removed = set.split("; ").any(|part| part == "Max-Age=0");
            self.cookie = (!is_removed).then(|| answer.cookie());
        }
    }

    /// Returns the value of a name in the session.
    pub(super) fn read(&mut self, name: &str) -> String {
        let answer = self.ask(&format!("/read/{name}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Requests a page that must succeed.
    pub(super) fn visit(&mut self, path: &str) {
        let answer = self.ask(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
}
