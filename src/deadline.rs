//! The deadline of the call that a thread executes.
//!
//! It is a thread-local, so that it reaches a store through other stores that wrap it. Nothing else is passed this
//! way.

pub(crate) use postgres_connect::Deadline;
