//! Tests with a real PostgreSQL server: the one of `DATABASE_URL`, or a throwaway server.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod support;

#[cfg(feature = "actix-session")]
mod actix_session;
#[cfg(any(
    feature = "actix-session",
    feature = "tower-sessions",
    feature = "tower-sessions-0-14"
))]
mod adapters;
mod batch;
mod broken;
mod check;
mod columns;
mod concurrent;
mod conformance;
mod connect;
mod deadlines;
mod docs;
mod errors;
mod examples;
mod hashed_keys;
mod lock_waits;
mod max_age;
mod model;
mod observe;
mod offload;
mod owners;
mod pools;
mod prepared;
mod prune;
mod query_plans;
mod renew;
mod round_trips;
mod schema;
mod search_path;
mod secrets;
mod sharded;
mod shared_table;
mod torture;
#[cfg(any(feature = "tower-sessions", feature = "tower-sessions-0-14"))]
mod tower_sessions;
mod transactions;
