//! What the visitors see during each step, by server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use session_postgres::{Error, ErrorKind};
use tokio::time::sleep;

/// A step lasts until the visitors have seen this many pages.
const PAGES: u64 = 600;

/// A handle: clones share one report.
#[derive(Clone, Default)]
pub(crate) struct Report(Arc<Mutex<Reported>>);

#[derive(Default)]
struct Reported {
    title: &'static str,
    step: u32,
    servers: BTreeMap<String, Seen>,
    /// The visitors whose last page was an error.
    waiting: BTreeSet<String>,
    failed_logins: u64,
    lost_sessions: u64,
}

/// What the visitors of one server see.
#[derive(Default)]
struct Seen {
    visitors: BTreeSet<String>,
    logins: u64,
    pages: u64,
    logouts: u64,
    errors: u64,
    slowest_login: Duration,
    slowest_page: Duration,
    last_error: Option<ErrorKind>,
}

/// A request of a visitor.
pub(crate) struct Request<'a> {
    report: &'a Report,
    visitor: &'a str,
    step: u32,
    begun: Instant,
}

impl Report {
    fn reported(&self) -> MutexGuard<'_, Reported> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the next step.
    pub(crate) fn begin(&self, title: &'static str) {
        let mut reported = self.reported();
        reported.title = title;
        reported.step += 1;
        reported.servers.clear();
    }

    /// Waits until the visitors have seen many pages and the condition is met. Then prints what they have seen.
    pub(crate) async fn print_when(&self, condition: impl Fn() -> bool) -> Result<(), String> {
        until(|| self.pages() >= PAGES && condition()).await?;
        self.reported().print();
        Ok(())
    }

    fn pages(&self) -> u64 {
        let reported = self.reported();
        reported.servers.values().map(|seen| seen.pages).sum()
    }

    /// Whether the visitors of a server have seen errors in this step.
    pub(crate) fn has_errors(&self, server: &str) -> bool {
        let reported = self.reported();
        reported
            .servers
            .get(server)
            .is_some_and(|seen| seen.errors > 0)
    }

    /// The number of visitors whose last page was an error.
    pub(crate) fn waiting(&self) -> usize {
        self.reported().waiting.len()
    }

    pub(crate) fn request<'a>(&'a self, visitor: &'a str) -> Request<'a> {
        Request {
            report: self,
            visitor,
            step: self.reported().step,
            begun: Instant::now(),
        }
    }

    pub(crate) fn failed_logins(&self) -> u64 {
        self.reported().failed_logins
    }

    /// The number of sessions that ended without a logout.
    pub(crate) fn lost_sessions(&self) -> u64 {
        self.reported().lost_sessions
    }
}

impl Request<'_> {
    /// Notes the server where the visitor has logged in, or that the login has failed.
    pub(crate) fn login(self, server: Option<&str>) {
        let mut reported = self.report.reported();
        match server {
            None => reported.failed_logins += 1,
            // The step before may have had other servers.
            Some(_) if reported.step != self.step => {}
            Some(server) => {
                let seen = reported.seen(server, self.visitor);
                seen.logins += 1;
                seen.slowest_login = seen.slowest_login.max(self.begun.elapsed());
            }
        }
    }

    pub(crate) fn page(self, server: &str, answer: &Result<(), Error>) {
        let mut reported = self.report.reported();
        reported.waiting.remove(self.visitor);
        match answer {
            Ok(()) => {
                let seen = reported.seen(server, self.visitor);
                seen.pages += 1;
                seen.slowest_page = seen.slowest_page.max(self.begun.elapsed());
            }
            Err(Error::NotFound) => reported.lost_sessions += 1,
            Err(error) => {
                reported.waiting.insert(self.visitor.to_owned());
                reported.seen(server, self.visitor).error(error);
            }
        }
    }

    pub(crate) fn logout(self, server: &str, answer: &Result<(), Error>) {
        let mut reported = self.report.reported();
        let seen = reported.seen(server, self.visitor);
        match answer {
            Ok(()) => seen.logouts += 1,
            Err(error) => seen.error(error),
        }
    }
}

impl Seen {
    fn error(&mut self, error: &Error) {
        self.errors += 1;
        self.last_error = Some(error.kind());
    }
}

impl Reported {
    fn seen(&mut self, server: &str, visitor: &str) -> &mut Seen {
        let seen = self.servers.entry(server.to_owned()).or_default();
        seen.visitors.insert(visitor.to_owned());
        seen
    }

    fn print(&self) {
        println!("\n{}\n", self.title);
        println!(
            "server  visitors  logins  pages  logouts  errors  last error  slowest login  slowest page"
        );
        for (server, seen) in &self.servers {
            let last_error = seen.last_error.map_or("-", ErrorKind::as_str);
            println!(
                "{server:<6}  {:>8}  {:>6}  {:>5}  {:>7}  {:>6}  {last_error:<10}  {:>13}  {:>12}",
                seen.visitors.len(),
                seen.logins,
                seen.pages,
                seen.logouts,
                seen.errors,
                in_ms(seen.slowest_login),
                in_ms(seen.slowest_page),
            );
        }
    }
}

fn in_ms(time: Duration) -> String {
    match time.is_zero() {
        true => "-".to_owned(),
        false => format!("{} ms", time.as_millis()),
    }
}

/// Waits until the condition is met.
pub(crate) async fn until(condition: impl Fn() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > Duration::from_secs(60) {
            return Err("a step has taken more than a minute".to_owned());
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
