//! TLS by OpenSSL, or its absence.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod last;
#[cfg(feature = "tls")]
mod openssl;

use std::path::PathBuf;

#[cfg(not(feature = "tls"))]
pub(crate) use self::absent::{LastTls, Tls};
#[cfg(feature = "tls")]
pub(crate) use self::{last::LastTls, openssl::Tls};
use crate::ssl_mode::SslMode;

#[derive(Clone)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only TLS reads it"))]
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
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only TLS reads it"))]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) key_password: Option<String>,
}
