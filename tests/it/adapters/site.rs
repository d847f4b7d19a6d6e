//! A site on its own table.

use std::{net::TcpStream, sync::Arc};

use session_postgres::{Offload, Period};

use super::{Adapter, Gate, Server, Visitor};
use crate::support::{
    database::Schema,
    http::{Answer, send},
};

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
    pub(super) fn ask_slowly<T>(
        &self,
        path: &str,
        cookie: &str,
        during: impl FnOnce() -> T,
    ) -> Answer {
        let request = self.send(path, Some(cookie));
        self.gate.wait_for(1);
        during();
        self.gate.open(1);
        Answer::read(request)
    }

    /// A visitor without a cookie.
    pub(super) fn visitor(&self) -> Visitor {
        self.visitor_with(None)
    }

    pub(super) fn visitor_with(&self, cookie: Option<String>) -> Visitor {
        Visitor::new(self.server.address, cookie)
    }

    /// Checks that a cookie is dead: no value can be read with it.
    pub(super) fn assert_is_dead(&self, cookie: &str) {
        for name in ["user", "text"] {
            let mut visitor = self.visitor_with(Some(cookie.to_owned()));
            assert_eq!(visitor.read(name), "nothing", "{name}");
        }
    }
}

impl Visitor {
    /// Returns the value of a name in the session.
    pub(super) fn read(&mut self, name: &str) -> String {
        self.visit(&format!("/read/{name}"))
    }
}
