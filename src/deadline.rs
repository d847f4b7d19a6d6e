//! The deadline of the call that a thread executes.
//!
//! It is a thread-local, so that it passes through stores that wrap another one. Nothing else is passed that
//! way.

pub(crate) use postgres_connect::Deadline;
