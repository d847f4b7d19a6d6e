//! TLS by OpenSSL, or its absence.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod openssl;

use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::{fs, path::Path};

#[cfg(not(feature = "tls"))]
pub(crate) use self::absent::Tls;
#[cfg(feature = "tls")]
pub(crate) use self::openssl::Tls;
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

/// Checks a private key as libpq does: it must be a regular file without access for other users. The group may
/// read it if root owns it.
#[cfg(feature = "tls")]
fn private(file: &Path) -> Result<(), String> {
    let name = file.display();
    let metadata = fs::metadata(file)
        .map_err(|e| format!("the client's key cannot be read from {name}: {e}"))?;
    if !metadata.is_file() {
        return Err(format!("the client's key {name} is not a regular file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let others = if metadata.uid() == 0 { 0o037 } else { 0o077 };
        if metadata.mode() & others != 0 {
            return Err(format!(
                "other users have access to the client's key {name}: run `chmod 600`"
            ));
        }
    }
    Ok(())
}
