//! Rules for a web site with sessions, which every adapter of a web framework keeps.
//!
//! An adapter implements [`Adapter`] with a site of a few pages, and lists its tests with [`test_rules`]. The tests
//! send HTTP requests over TCP.

#[cfg(feature = "actix-session")]
mod actix;
#[cfg(any(feature = "tower-sessions", feature = "tower-sessions-0-14"))]
pub(crate) mod axum;
mod gate;
mod rules;
mod site;
mod visitor;

use std::{any::Any, net::SocketAddr, sync::Arc};

use session_postgres::{Offload, Period, PostgresStore};

use self::gate::Gate;
pub(crate) use self::visitor::Visitor;

/// A web framework whose sessions are in a store.
trait Adapter {
    /// The status of a page that has read its session and ends after the visitor has logged in or out.
    const LATE_READ: u16;

    /// The same if the page also writes.
    const LATE_WRITE: u16;

    /// Starts a site on a free port. A session ends this long after it was last written.
    ///
    /// | page | does |
    /// |---|---|
    /// | `/read/{name}` | answers with the value of this name in the session, or with `nothing` |
    /// | `/write/{name}/{value}` | writes the value |
    /// | `/login/{user}` | changes the key of the session, and writes the value `user` |
    /// | `/logout` | ends the session |
    /// | `/slow/{name}` | reads the value, then passes the gate, then answers |
    /// | `/slow/{name}/{value}` | reads the value, then passes the gate, then writes the new value |
    ///
    /// If a call of the session fails, the status is 500.
    fn start(store: Offload<PostgresStore>, period: Period, gate: Arc<Gate>) -> Server;
}

/// A server, and what stops it when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _stop: Box<dyn Any + Send + Sync>,
}

/// Adds a test of each rule for an adapter.
macro_rules! test_rules {
    ($adapter:ty) => {
        crate::adapters::test_rules! {
            $adapter:
            the_first_write_creates_a_session_and_a_read_does_not,
            a_written_value_is_read_by_later_requests,
            a_login_changes_the_cookie_and_ends_the_old_one,
            a_session_ends_after_its_period,
            a_logout_ends_the_session_and_its_cookie,
            a_slow_request_does_not_revive_a_session_that_is_logged_out,
            a_slow_request_does_not_log_out_a_visitor_who_logs_in,
            two_hundred_requests_at_once_all_see_their_own_session,
            requests_succeed_while_the_database_restarts,
        }
    };
    ($adapter:ty: $($rule:ident,)*) => {
        $(
            #[test]
            fn $rule() {
                crate::adapters::rules::$rule::<$adapter>();
            }
        )*
    };
}
use test_rules;
