//! Web sessions in PostgreSQL: a blocking store, and an async facade that runs its calls on threads.
//!
//! Blocking programs use [`PostgresStore`] through the trait [`Store`]. Async programs wrap a store in
//! [`Offload`] and use it through the trait [`AsyncStore`]. A session consists of a [`Key`], which the program
//! sends as a cookie, a value, which is text, and an expiry date, which is set as a [`Period`] from now.
//!
//! ```
//! use session_postgres::{Error, Period, PostgresStore, Store};
//!
//! # let server = throwaway_postgres::Server::start()?;
//! # let database_url = server.url();
//! let store = PostgresStore::connect(database_url)?;
//! store.create_table()?;
//!
//! let key = store.generate(Some("1 lobster"), Some(Period::HOUR))?;
//! assert_eq!(store.get(&key)?.value, "1 lobster");
//! store.clear(&key)?;
//! assert!(matches!(store.get(&key), Err(Error::NotFound)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The path of a call
//!
//! ```text
//! async task
//!   → AsyncStore::get on an Offload
//!   → queue of the verb               bounded, first in, first out
//!   → worker                          one spawn_blocking closure; at most one per connection
//! blocking program starts here
//!   → Store::get_many on a PostgresStore
//!   → connection                      from an r2d2 pool, or a single client
//!   → prepared statement              one round trip
//!   → PostgreSQL
//!   ← each caller gets its own Result
//! ```
//!
//! While all workers are busy, waiting calls are combined into one statement. No call is delayed to fill a
//! batch.
//!
//! If one server is not enough, a [`Sharded`] store keeps the sessions on several.
//!
//! The [guides](guide) have one page for each task. [`Error`] says whether a failed call had an effect.
//!
//! # Features
//!
//! - `tower-sessions`: an [`Offload`] is a session store of tower-sessions 0.15, for axum and other frameworks on tower.
//! - `tower-sessions-0-14`: the same for tower-sessions 0.14, which axum-login 0.18 and axum-messages 0.8 use. Both
//!   features can be on.
//! - `actix-session`: any [`AsyncStore`] in an adapter is a session store of actix-session 0.11, for actix-web 4.
//! - `tls`: TLS to the server, by OpenSSL. Without it or `rustls`, [`SslMode::Require`] and stricter modes are errors.
//! - `rustls`: TLS to the server, by rustls, which needs no OpenSSL. With both, OpenSSL is used.
//! - `metrics`: counters, gauges and histograms for the crate [metrics](https://docs.rs/metrics).
//! - `tracing`: a span for each call, and events for faults. [Observing](guide::observing) lists both.
//!
//! No feature is on by default.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "actix-session")]
pub mod actix_session;
#[cfg(any(
    feature = "actix-session",
    feature = "tower-sessions",
    feature = "tower-sessions-0-14"
))]
mod adapters;
mod async_store;
mod blocking;
mod deadline;
mod error;
pub mod guide;
mod key;
mod memory;
mod observe;
mod offload;
mod offload_postgres;
mod period;
mod pg;
mod pruned;
mod pruner;
mod recent;
mod session;
mod shard_map;
mod sharded;
mod store;
#[cfg(any(feature = "tower-sessions", feature = "tower-sessions-0-14"))]
pub mod tower_sessions;

// Compiles the code of the README.
#[cfg(all(doctest, feature = "tower-sessions"))]
#[doc = include_str!("../README.md")]
mod readme {}

pub use postgres;
pub use postgres_connect::{ConnectOptions, Error as ConnectError, SslMode};
pub use r2d2;
pub use time;

pub use crate::{
    async_store::AsyncStore,
    error::{DatabaseError, Error, ErrorKind},
    key::{InvalidKey, Key},
    memory::MemoryStore,
    observe::{BatchSizes, CallStats, Method},
    offload::{Offload, OffloadBuilder, OffloadStats},
    period::{DEFAULT_PERIOD, MAX_PERIOD, MIN_PERIOD, Period},
    pg::{
        Columns, ConnectionStats, PostgresStore, PostgresStoreBuilder, SessionTransaction,
        StoreStats, ValueType,
    },
    pruned::{Pruned, PrunerStats},
    pruner::{Pruner, PrunerBuilder},
    session::{MAX_VALUE_BYTES, OwnedSession, Session, SessionFields},
    shard_map::ShardMap,
    sharded::{ShardServer, Sharded, ShardedBuilder},
    store::Store,
};
