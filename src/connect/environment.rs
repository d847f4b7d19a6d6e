//! What surrounds the program: where options come from that nobody gave.

use std::{env, path::PathBuf};

use super::{passfile, service};

type Variables = Box<dyn Fn(&str) -> Option<String>>;

pub(super) struct Environment {
    /// An environment variable's value.
    pub(super) variable: Variables,
    /// The operating system's name of who runs the program.
    pub(super) user: Result<String, String>,
    /// The user's own files, where there is a place for them.
    pub(super) passfile: Option<PathBuf>,
    pub(super) service_file: Option<PathBuf>,
    pub(super) tls_folder: Option<PathBuf>,
}

impl Environment {
    pub(super) fn of_process() -> Environment {
        let tls_folder = if cfg!(windows) { "" } else { ".postgresql" };
        Environment {
            variable: Box::new(|name| env::var(name).ok()),
            user: whoami::username().map_err(|e| e.to_string()),
            passfile: passfile::default_path(),
            service_file: service::default_path(),
            tls_folder: passfile::user_folder().map(|folder| folder.join(tls_folder)),
        }
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// One of the user's files for TLS, if it is there.
    pub(super) fn tls_file(&self, name: &str) -> Option<PathBuf> {
        let file = self.tls_folder.as_ref()?.join(name);
        Some(file).filter(|file| file.exists())
    }
}
