//! Guides: one page for each task.
//!
//! | page | for |
//! |---|---|
//! | [`blocking`] | an existing client, pool or connection string |
//! | [`async_code`] | batches, limits, and answers to errors |
//! | [`axum`] | web sites, with or without tower-sessions |
//! | [`actix`] | web sites on actix-web, with actix-session |
//! | [`connecting`] | connection strings, TLS, failover, poolers, time limits |
//! | [`logins`] | logging in and out, timeouts, devices, hashed keys |
//! | [`transactions`] | changing sessions and other tables together |
//! | [`table`] | creating, checking, upgrading and protecting the table, and existing tables |
//! | [`partitions`] | a table that autovacuum does not keep up with: when partitions pay, and how to convert a live table |
//! | [`operations`] | pruning, failover, and what each error means |
//! | [`observing`] | the numbers to watch; counters, metrics, spans and events |
//! | [`scaling`] | sessions on several servers |
//! | [`performance`] | what calls cost, with measurements |
//! | [`from_sqlx`] | moving from tower-sessions' sqlx store |
//! | [`ocaml`] | sharing a table with OCaml's session-postgresql |
//!
//! Read [`blocking`] or [`async_code`] first.

/// Blocking code with an existing client, pool or connection string.
///
#[doc = include_str!("blocking.md")]
pub mod blocking {}

/// Async programs: batches, limits, and how to answer a request after an error.
///
#[doc = include_str!("async_code.md")]
pub mod async_code {}

/// Web sites on axum, with tower-sessions or with a cookie of their own.
///
#[doc = include_str!("axum.md")]
pub mod axum {}

/// Web sites on actix-web, with actix-session.
///
#[doc = include_str!("actix.md")]
pub mod actix {}

/// Logging in and out, timeouts, lists of devices, and hashed keys.
///
#[doc = include_str!("logins.md")]
pub mod logins {}

/// Changing sessions and other tables together.
///
#[doc = include_str!("transactions.md")]
pub mod transactions {}

/// Connection strings, TLS, failover, poolers and time limits.
///
#[doc = include_str!("connecting.md")]
pub mod connecting {}

/// The sessions table: how to create, check, upgrade and protect it.
///
#[doc = include_str!("table.md")]
pub mod table {}

/// A table with partitions: when it pays, and how to convert a live table.
///
#[doc = include_str!("partitions.md")]
pub mod partitions {}

/// For operators: pruning, failover, and what each error means.
///
#[doc = include_str!("operations.md")]
pub mod operations {}

/// The five numbers to watch; counters, metrics, spans and events.
///
#[doc = include_str!("observing.md")]
pub mod observing {}

/// The costs of calls, with measurements.
///
#[doc = include_str!("performance.md")]
pub mod performance {}

/// Moving from tower-sessions' sqlx store while visitors stay logged in.
///
#[doc = include_str!("from_sqlx.md")]
pub mod from_sqlx {}

/// Sharing a table with OCaml's session-postgresql.
///
#[doc = include_str!("ocaml.md")]
pub mod ocaml {}

/// More sessions than one server holds.
///
#[doc = include_str!("scaling.md")]
pub mod scaling {}
