#![doc = include_str!("../README.md")]

mod async_store;
mod connect;
mod deadline;
mod error;
mod key;
mod memory;
mod offload;
mod period;
mod pg;
mod session;
mod store;
#[cfg(feature = "tower-sessions")]
pub mod tower_sessions;

pub use ::postgres;
pub use r2d2;
pub use time;

pub use crate::{
    async_store::AsyncStore,
    connect::{ConnectError, ConnectOptions, SslMode},
    error::{DatabaseError, Error},
    key::{InvalidKey, Key},
    memory::MemoryStore,
    offload::{Offload, OffloadBuilder, Stats},
    period::{DEFAULT_PERIOD, MAX_PERIOD, MIN_PERIOD, Period},
    pg::{PostgresStore, PostgresStoreBuilder, Pruner, PrunerBuilder, PrunerStats},
    session::{MAX_VALUE_BYTES, Session},
    store::Store,
};
