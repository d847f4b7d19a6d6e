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

/// Refuses what libpq refuses as a private key: what is no regular file, and a file that others have access
/// to. The group may read a file of root.
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
                "others have access to the client's key {name}: `chmod 600` keeps them out"
            ));
        }
    }
    Ok(())
}
