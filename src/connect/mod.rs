//! Connecting as libpq does, in the order of things: the [`options`], or a connection string
//! ([`conninfo`]) of the [`keyword`]s that libpq knows; what is [`found`] for them in a [`service`] file
//! and the [`environment`]; the [`plan`] and its [`hosts`]; [`dial`], which tries one after another,
//! with a password of the [`passfile`]; and the [`wire`], with [`tls`] or at the end of a [`detour`],
//! that comes of it. [`cancel`] sends cancel requests for statements that take too long.

mod cancel;
mod conninfo;
mod detour;
mod dial;
mod environment;
mod error;
mod found;
mod hosts;
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
mod wrapped;

pub(crate) use self::{
    cancel::{Cancel, Cancelled, Canceller, Guard},
    dial::Dialer,
    manager::Manager,
    wrapped::WithConfig,
};
pub use self::{
    error::ConnectError,
    options::{ConnectOptions, SslMode},
};
