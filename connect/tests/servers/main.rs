//! Connections to real servers.

#![allow(clippy::unwrap_used)]

#[cfg(any(feature = "tls", feature = "rustls"))]
mod certificate_files;
#[cfg(any(feature = "tls", feature = "rustls"))]
mod client_certificates;
mod hosts;
mod limits;
#[cfg(any(feature = "tls", feature = "rustls"))]
mod openssl_and_rustls;
mod options;
mod passwords;
mod pool;
mod support;
#[cfg(any(feature = "tls", feature = "rustls"))]
mod tls;
