#![doc = include_str!("../README.md")]

mod async_store;
mod blocking;
mod deadline;
mod error;
pub mod guide;
mod key;
mod memory;
mod offload;
mod offload_postgres;
mod period;
mod pg;
mod pruner;
mod recent;
mod session;
mod store;
#[cfg(feature = "tower-sessions")]
pub mod tower_sessions;

pub use ::postgres;
pub use postgres_connect::{ConnectOptions, Error as ConnectError, SslMode};
pub use r2d2;
pub use time;

pub use crate::{
    async_store::AsyncStore,
    error::{DatabaseError, Error},
    key::{InvalidKey, Key},
    memory::MemoryStore,
    offload::{Offload, OffloadBuilder, Stats},
    period::{DEFAULT_PERIOD, MAX_PERIOD, MIN_PERIOD, Period},
    pg::{PostgresStore, PostgresStoreBuilder},
    pruner::{Pruner, PrunerBuilder, PrunerStats},
    session::{MAX_VALUE_BYTES, Session},
    store::Store,
};
