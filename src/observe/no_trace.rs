//! The replacement for `trace.rs` if the feature `tracing` is off.

use std::{fmt::Display, time::Duration};

use super::Method;
use crate::Error;

#[derive(Clone)]
pub(crate) struct Span;

impl Span {
    pub(crate) fn of_facade(_: Method, _: usize) -> Span {
        Span
    }

    pub(crate) fn of_store(_: Method, _: usize) -> Span {
        Span
    }

    pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    pub(crate) fn execute<'s, T>(_: impl Iterator<Item = &'s Span>, work: impl FnOnce() -> T) -> T {
        work()
    }
}

pub(crate) fn slow_call(_: Method, _: usize, _: Duration) {}

pub(crate) fn retry(_: u32, _: &Error) {}

pub(crate) fn broken_connection(_: &impl Display) {}

pub(crate) fn new_connection() {}

pub(crate) fn connect_failure(_: &str) {}

pub(crate) fn cancelled_statement() {}

pub(crate) fn left_out(_: &str, _: &Error) {}

pub(crate) fn is_back(_: &str) {}

pub(crate) fn failed_pruning(_: &Error) {}
