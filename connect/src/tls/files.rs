//! The content of the files that the options name.

use std::{fs, path::Path};

use super::{Identity, Roots, TlsSettings};

/// Contents that are compared with those of the last connection.
#[derive(PartialEq)]
pub(super) struct Files {
    pub(super) roots: Option<Vec<u8>>,
    /// As in libpq, used only with a file of roots.
    pub(super) revoked: Option<Vec<u8>>,
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
}

impl Files {
    pub(super) fn read(settings: &TlsSettings) -> Result<Files, String> {
        let mut files = Files {
            roots: None,
            revoked: None,
            certificate: None,
            key: None,
        };
        if let Roots::File(roots) = &settings.roots {
            files.roots = Some(read(ROOTS, roots)?);
            let revoked = settings.revoked.as_deref();
            files.revoked = revoked.map(|file| read(REVOKED, file)).transpose()?;
        }
        if let Some(Identity {
            certificate, key, ..
        }) = &settings.identity
        {
            files.certificate = Some(read(CERTIFICATE, certificate)?);
            private(key)?;
            files.key = Some(read(KEY, key)?);
        }
        Ok(files)
    }
}

pub(super) const ROOTS: &str = "root certificates";
pub(super) const REVOKED: &str = "revoked certificates";
pub(super) const CERTIFICATE: &str = "the client's certificate";
pub(super) const KEY: &str = "the client's key";

fn read(what: &str, file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|e| unreadable(what, file, &e.to_string()))
}

/// The error text for a file.
pub(super) fn unreadable(what: &str, file: &Path, why: &str) -> String {
    format!("{what} cannot be read from {}: {why}", file.display())
}

/// Checks a private key as libpq does: it must be a regular file without access for other users. The group may
/// read it if root owns it.
fn private(file: &Path) -> Result<(), String> {
    let name = file.display();
    let metadata = fs::metadata(file).map_err(|e| unreadable(KEY, file, &e.to_string()))?;
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
