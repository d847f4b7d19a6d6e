#![doc = include_str!("../README.md")]

mod error;
mod key;
mod memory;
mod period;
mod pg;
mod session;
mod store;

pub use ::postgres;
pub use r2d2;
pub use time;

pub use crate::{
    error::{DatabaseError, Error},
    key::{InvalidKey, Key},
    memory::MemoryStore,
    period::{DEFAULT_PERIOD, MAX_PERIOD, MIN_PERIOD, Period},
    pg::{PostgresStore, PostgresStoreBuilder},
    session::{MAX_VALUE_BYTES, Session},
    store::Store,
};
