//! TLS by OpenSSL or rustls, or its absence. With both features, it is OpenSSL.

#[cfg(not(any(feature = "tls", feature = "rustls")))]
mod absent;
#[cfg(any(feature = "tls", feature = "rustls"))]
mod files;
#[cfg(any(feature = "tls", feature = "rustls"))]
mod last;
#[cfg(feature = "tls")]
mod openssl;
#[cfg(all(feature = "rustls", not(feature = "tls")))]
mod rustls;

use std::path::PathBuf;

#[cfg(not(any(feature = "tls", feature = "rustls")))]
pub(crate) use self::absent::{LastTls, Tls};
#[cfg(any(feature = "tls", feature = "rustls"))]
pub(crate) use self::last::LastTls;
#[cfg(feature = "tls")]
pub(crate) use self::openssl::Tls;
#[cfg(all(feature = "rustls", not(feature = "tls")))]
pub(crate) use self::rustls::Tls;
use crate::ssl_mode::SslMode;

#[derive(Clone)]
#[cfg_attr(
    not(any(feature = "tls", feature = "rustls")),
    allow(dead_code, reason = "only TLS reads it")
)]
pub(crate) struct TlsSettings {
    pub(crate) mode: SslMode,
    pub(crate) roots: Roots,
    pub(crate) revoked: Option<PathBuf>,
    pub(crate) identity: Option<Identity>,
    /// Whether the server is told its host name (SNI).
    pub(crate) sends_name: bool,
}

/// The authorities whose certificates are trusted.
#[derive(Clone, PartialEq)]
pub(crate) enum Roots {
    /// Any certificate is accepted.
    None,
    /// The authorities that the operating system trusts.
    System,
    File(PathBuf),
}

/// The certificate and key of the client.
#[derive(Clone)]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "only OpenSSL reads all of it")
)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) key_password: Option<String>,
}
