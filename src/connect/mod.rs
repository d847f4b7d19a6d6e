//! Connecting as libpq does, in the order of things: the [`options`], or a connection string
//! ([`conninfo`]) of the [`keyword`]s that libpq knows; the [`plan`] that they come to in this
//! [`environment`], with the files of [`service`]s and passwords ([`passfile`]); [`dial`], which tries
//! one host after another; and the [`wire`], with [`tls`], that comes of it.

mod conninfo;
mod dial;
mod environment;
mod error;
mod keyword;
mod manager;
mod options;
mod passfile;
mod plan;
#[cfg(test)]
mod scratch;
mod service;
mod tls;
mod wire;

pub(crate) use self::{dial::Dialer, manager::Manager};
pub use self::{
    error::ConnectError,
    options::{ConnectOptions, SslMode},
};
