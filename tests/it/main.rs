//! Tests on a real PostgreSQL: `DATABASE_URL`, or a throwaway server.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod support;

mod batch;
mod broken;
mod check;
mod concurrent;
mod conformance;
mod connect;
mod deadlines;
mod docs;
mod errors;
mod examples;
mod model;
mod offload;
mod plans;
mod pools;
mod prepared;
mod prune;
mod round_trips;
mod schema;
mod secrets;
mod shared_table;
mod torture;
#[cfg(feature = "tower-sessions")]
mod tower_sessions;
mod traps;
mod waits;
