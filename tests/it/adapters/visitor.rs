//! A browser.

use std::net::SocketAddr;

use crate::support::http::{Answer, send};

/// Keeps the cookie of a site as a browser does.
pub(crate) struct Visitor {
    address: SocketAddr,
    pub(crate) cookie: Option<String>,
}

impl Visitor {
    pub(crate) fn new(address: SocketAddr, cookie: Option<String>) -> Visitor {
        Visitor { address, cookie }
    }

    pub(crate) fn cookie(&self) -> String {
        self.cookie.clone().expect("a cookie")
    }

    /// Sends a request, for example `GET /`, and returns the answer.
    pub(crate) fn ask(&mut self, request: &str, form: &str) -> Answer {
        let answer = Answer::read(send(self.address, request, self.cookie.as_deref(), form));
        self.keep_cookie(&answer);
        answer
    }

    /// Requests a page that must succeed. Returns it.
    pub(crate) fn visit(&mut self, path: &str) -> String {
        let answer = self.ask(&format!("GET {path}"), "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Does with the cookie of an answer what browsers do: replaces or removes the own one.
    pub(super) fn keep_cookie(&mut self, answer: &Answer) {
        if let Some(set) = answer.header("set-cookie") {
            let is_removed = set.split("; ").any(|part| part == "Max-Age=0");
            self.cookie = (!is_removed).then(|| answer.cookie());
        }
    }
}
