//! HTTP requests through axum and the middleware of tower-sessions.

mod concurrent;
mod cookies;
mod expiry;
mod failures;
mod idle_timeout;
pub(super) mod site;

use super::tower_sessions::Expiry;
use session_postgres::Period;

use self::site::{Site, site};
use super::Fixture;

const HALF_AN_HOUR: Expiry = Expiry::OnInactivity(Period::minutes(30));

/// Returns a site on a new table, and the fixture of its store.
fn new_site() -> (Fixture, Site) {
    let on = Fixture::new();
    let site = site(on.store.clone(), HALF_AN_HOUR);
    (on, site)
}
