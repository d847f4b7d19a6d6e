//! The examples as programs: HTTP requests as a browser sends them, and signals.

#[cfg(feature = "actix-session")]
mod actix;
#[cfg(feature = "tower-sessions")]
mod axum;
mod blocking;
mod counter;
mod devices;
#[cfg(any(feature = "actix-session", feature = "tower-sessions"))]
mod login_site;
mod program;
mod sharded;

use std::{
    net::TcpStream,
    ops::{Deref, DerefMut},
};

use self::program::Program;
use crate::support::{
    database::Schema,
    http::{Answer, send},
};

/// A running example with a free port and its own schema.
struct Site {
    program: Program,
    /// The name of its table.
    table: String,
    schema: Schema,
}

impl Site {
    fn start(name: &str, settings: &[(&str, &str)]) -> Site {
        let schema = Schema::new();
        let program = Program::start(name, &schema.url(), settings);
        let has_metrics = settings.iter().any(|(setting, _)| *setting == "METRICS");
        assert_eq!(program.announced.is_empty(), !has_metrics);
        Site {
            program,
            table: format!("session_{name}"),
            schema,
        }
    }

    fn send(&self, request: &str, cookie: Option<&str>, form: &str) -> TcpStream {
        send(self.address, request, cookie, form)
    }

    fn ask(&self, request: &str, cookie: Option<&str>) -> Answer {
        Answer::read(self.send(request, cookie, ""))
    }

    fn post(&self, path: &str, cookie: &str, form: &str) -> Answer {
        Answer::read(self.send(&format!("POST {path}"), Some(cookie), form))
    }

    /// Sends a request with one more header.
    fn ask_with(&self, request: &str, cookie: &str, header: &str) -> Answer {
        self.ask(request, Some(&format!("{cookie}\r\n{header}")))
    }

    /// Checks that POST requests from other sites are rejected and those from this site are accepted.
    fn assert_rejects_other_sites(&self, path: &str, cookie: &str) {
        let request = format!("POST {path}");
        let (own, by_name) = (
            format!("Origin: http://{}", self.address),
            format!("Origin: http://localhost:{}", self.address.port()),
        );
        for header in [
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
            "Origin: null",
            "Origin: https://example.org",
            &by_name,
            &format!("{own}\r\nSec-Fetch-Site: cross-site"),
        ] {
            let answer = self.ask_with(&request, cookie, header);
            assert_eq!(answer.status, 403, "{header}");
            assert_eq!(answer.header("set-cookie"), None, "{header}");
        }
        for header in [&own, &format!("{by_name}\r\nSec-Fetch-Site: same-origin")] {
            let answer = self.ask_with(&request, cookie, header);
            assert_eq!(answer.status, 303, "{header}");
        }
    }

    /// Returns the number of rows of a table.
    fn rows(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.schema.client().query_one(&sql, &[]).unwrap().get(0)
    }
}

impl Deref for Site {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Site {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}

impl Answer {
    fn visits(&self) -> u64 {
        let (_, number) = self.body.split_once("<strong>").unwrap();
        number.split_once("</strong>").unwrap().0.parse().unwrap()
    }
}
