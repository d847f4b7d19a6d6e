//! Spans and events for the crate `tracing`. Their target is `session_postgres`.

use std::time::Duration;

use tracing::{debug_span, info, warn};

use super::Method;
use crate::Error;

const TARGET: &str = "session_postgres";

/// The span of a call. Its parent is the current span of the thread or task that makes the call.
#[derive(Clone)]
pub(crate) struct Span {
    span: tracing::Span,
    is_of_caller: bool,
}

impl Span {
    /// Returns the span of a call of a facade. If the subscriber wants none, this is the current span of the caller, so
    /// that the worker is in it.
    pub(crate) fn of_facade(method: Method, calls: usize) -> Span {
        let method = method.as_str();
        let span = debug_span!(target: TARGET, "session_offload", method, calls);
        match span.is_disabled() {
            true => Span {
                span: tracing::Span::current(),
                is_of_caller: true,
            },
            false => Span {
                span,
                is_of_caller: false,
            },
        }
    }

    /// Returns the span of a call of a store.
    pub(crate) fn of_store(method: Method, calls: usize) -> Span {
        let method = method.as_str();
        Span {
            span: debug_span!(target: TARGET, "session_store", method, calls),
            is_of_caller: false,
        }
    }

    pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(work)
    }

    /// Executes calls together, in the span of the first. The others follow from it.
    pub(crate) fn execute<'s, T>(
        mut spans: impl Iterator<Item = &'s Span>,
        work: impl FnOnce() -> T,
    ) -> T {
        let Some(first) = spans.next() else {
            return work();
        };
        for other in spans.filter(|other| !other.is_of_caller) {
            other.span.follows_from(&first.span);
        }
        first.in_scope(work)
    }
}

pub(crate) fn slow_call(method: Method, calls: usize, time: Duration) {
    let method = method.as_str();
    warn!(target: TARGET, method, calls, seconds = time.as_secs_f64(), "the call was slow");
}

/// Another attempt at an operation follows. The text of an error contains no key and no value.
pub(crate) fn retry(attempt: u32, error: &Error) {
    warn!(target: TARGET, attempt, %error, "the attempt failed, and another one follows");
}

pub(crate) fn broken_connection(error: &impl std::fmt::Display) {
    warn!(target: TARGET, %error, "a connection broke");
}

pub(crate) fn new_connection() {
    info!(target: TARGET, "the store uses a new connection");
}

pub(crate) fn connect_failure(error: &str) {
    warn!(target: TARGET, error, "the pool could not connect");
}

pub(crate) fn cancelled_statement() {
    warn!(target: TARGET, "a cancel request was sent, because the statement had not ended at its deadline");
}

pub(crate) fn left_out(server: &str, error: &Error) {
    warn!(target: TARGET, server, %error, "the server gets no new sessions for a while");
}

pub(crate) fn is_back(server: &str) {
    info!(target: TARGET, server, "the server gets new sessions again");
}

pub(crate) fn failed_pruning(error: &Error) {
    warn!(target: TARGET, %error, "expired rows were not removed");
}
