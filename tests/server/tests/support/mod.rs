//! For several tests.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::{env, fs, process};

/// A folder for certificates, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("certificates-{name}-{}", process::id()));
        fs::create_dir(&folder).expect("a new folder");
        Self(folder)
    }

    /// Keys must not be readable for others, says `psql`.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
