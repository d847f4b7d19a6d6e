//! Whether new sessions are created on a server.
//!
//! A server that has failed is left out for a while. Then one creation tries it again. Only a session that was created ends
//! this. If the map has an origin, the failures of all calls count, so that the other server is asked first.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use postgres::error::SqlState;

use crate::Error;

/// How long a server is left out after its first failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Availability {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    left_out_until: Option<Instant>,
}

impl Availability {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server is not left out now.
    pub(super) fn is_good(&self) -> bool {
        let until = self.state().left_out_until;
        until.is_none_or(|until| until <= Instant::now())
    }

    /// Notes that a creation is about to be tried. If the server has failed before, others wait for its result.
    pub(super) fn try_one(&self) {
        let mut state = self.state();
        if state.failures > 0 {
            state.leave_out();
        }
    }

    /// Notes a failure. Those of calls that were made at the same time count once. Returns whether it counts.
    pub(super) fn failed(&self) -> bool {
        let mut state = self.state();
        let counts = state
            .left_out_until
            .is_none_or(|until| until <= Instant::now());
        if counts {
            state.leave_out();
        }
        counts
    }

    /// Notes a success. Returns whether the server had failed before.
    pub(super) fn succeeded(&self) -> bool {
        let before = std::mem::take(&mut *self.state());
        before.failures > 0
    }
}

impl State {
    fn leave_out(&mut self) {
        let pause = (FIRST_PAUSE * 2_u32.pow(self.failures.min(8))).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.left_out_until = Some(Instant::now() + pause);
    }
}

/// Whether another server might execute a call that has failed with this error.
pub(super) fn is_fault_of_server(error: &Error) -> bool {
    match error {
        Error::TimedOut { .. }
        | Error::StillRunning { .. }
        | Error::Overloaded { .. }
        | Error::Disconnected(_)
        | Error::Connect(_)
        | Error::MissingTable { .. }
        | Error::MissingColumn { .. }
        | Error::ShardMap { .. }
        | Error::Other(_) => true,
        Error::Database(_) => error.sqlstate().is_none_or(is_about_server),
        _ => false,
    }
}

/// Whether an error is about the server or its table, and not about the data of the call.
fn is_about_server(code: &SqlState) -> bool {
    const CLASSES: [&str; 8] = ["08", "25", "28", "42", "53", "57", "58", "XX"];
    CLASSES.iter().any(|class| code.code().starts_with(class))
}

/// Whether a call has failed with this error because the server cannot be reached or used now.
pub(super) fn is_unreachable(error: &Error) -> bool {
    match error {
        Error::MissingTable { .. } | Error::MissingColumn { .. } | Error::ShardMap { .. } => false,
        Error::Database(_) => error.sqlstate().is_none_or(is_temporary),
        other => is_fault_of_server(other),
    }
}

/// Whether an error of a server may pass: it has no more connections or space, shuts down, or starts.
fn is_temporary(code: &SqlState) -> bool {
    ["08", "53", "57"]
        .iter()
        .any(|class| code.code().starts_with(class))
}
