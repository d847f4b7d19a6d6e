#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod advice;
mod async_context;
mod attempt;
mod cancel;
mod connector;
mod deadline;
mod error;
mod libpq;
mod options;
mod pool;
mod settings;
mod ssl_mode;
mod stream;
mod tls;

#[doc = include_str!("keywords.md")]
pub mod keywords {}

pub use postgres;
pub use r2d2;

pub use crate::{
    async_context::is_async_context,
    cancel::{CancelGuard, Cancelled, Canceller},
    connector::{Connector, connect},
    deadline::Deadline,
    error::{Error, describe},
    options::ConnectOptions,
    pool::{ConfigManager, ConnectionManager},
    ssl_mode::SslMode,
};
