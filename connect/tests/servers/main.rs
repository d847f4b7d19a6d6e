//! Connections to real servers.

#![allow(clippy::unwrap_used)]

#[cfg(feature = "tls")]
mod certificate_files;
#[cfg(feature = "tls")]
mod client_certificates;
mod hosts;
mod limits;
mod options;
mod passwords;
mod pool;
mod support;
#[cfg(feature = "tls")]
mod tls;
