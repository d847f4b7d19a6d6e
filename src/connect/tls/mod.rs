//! TLS: what is asked for, and who does it.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod openssl;

use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::{fs, path::Path};

#[cfg(not(feature = "tls"))]
pub(super) use self::absent::Tls;
#[cfg(feature = "tls")]
pub(super) use self::openssl::Tls;
use super::options::SslMode;

/// What is asked of TLS.
#[derive(Clone)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only TLS reads it"))]
pub(super) struct TlsOptions {
    pub(super) mode: SslMode,
    pub(super) roots: Roots,
    pub(super) revoked: Option<PathBuf>,
    pub(super) identity: Option<Identity>,
    /// Whether the server is told the name that it is called by.
    pub(super) sends_name: bool,
}

/// Whose signature makes a server's certificate good.
#[derive(Clone, PartialEq)]
pub(super) enum Roots {
    /// Any certificate is.
    Nobodys,
    Systems,
    File(PathBuf),
}

/// What shows the server who we are.
#[derive(Clone)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only TLS reads it"))]
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) key_password: Option<String>,
}

/// Refuses a private key that others can read, as libpq does: a file of root's own, its group may.
#[cfg(feature = "tls")]
fn private(file: &Path) -> Result<(), String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(file).map_err(|e| {
            format!(
                "the client's key cannot be read from {}: {e}",
                file.display()
            )
        })?;
        let others = if metadata.uid() == 0 { 0o027 } else { 0o077 };
        if metadata.mode() & others != 0 {
            return Err(format!(
                "the client's key {} can be read by others: `chmod 600` keeps them out",
                file.display()
            ));
        }
    }
    Ok(())
}
