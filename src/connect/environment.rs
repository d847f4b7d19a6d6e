//! What surrounds the program: where options come from that nobody gave.

use std::{
    collections::HashMap,
    env::{self, VarError},
    path::PathBuf,
};

use super::{keyword::KEYWORDS, passfile, service};
use crate::Error;

pub(super) struct Environment {
    pub(super) variables: HashMap<&'static str, String>,
    /// The operating system's name of who runs the program.
    pub(super) user: Result<String, String>,
    /// The user's own files, where there is a place for them.
    pub(super) passfile: Option<PathBuf>,
    pub(super) service_file: Option<PathBuf>,
    pub(super) tls_folder: Option<PathBuf>,
}

/// Variables that stand in for no keyword.
const OTHERS: [&str; 1] = ["PGSYSCONFDIR"];

impl Environment {
    pub(super) fn of_process() -> Result<Environment, Error> {
        let mut variables = HashMap::new();
        let names = KEYWORDS.iter().filter_map(|keyword| keyword.variable);
        for name in names.chain(OTHERS) {
            match env::var(name) {
                Ok(value) => drop(variables.insert(name, value)),
                Err(VarError::NotPresent) => {}
                // To take it for none might be less safe than was asked for.
                Err(VarError::NotUnicode(_)) => {
                    return Err(Error::InvalidOption(format!("{name} is not UTF-8")));
                }
            }
        }
        let tls_folder = if cfg!(windows) { "" } else { ".postgresql" };
        Ok(Environment {
            variables,
            user: whoami::username().map_err(|e| e.to_string()),
            passfile: passfile::default_path(),
            service_file: service::default_path(),
            tls_folder: passfile::user_folder().map(|folder| folder.join(tls_folder)),
        })
    }

    /// The value of a variable; an empty one is none.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let value = self.variables.get(name)?;
        Some(value.clone()).filter(|value| !value.is_empty())
    }

    /// One of the user's files for TLS, if it is there.
    pub(super) fn tls_file(&self, name: &str) -> Option<PathBuf> {
        let file = self.tls_folder.as_ref()?.join(name);
        Some(file).filter(|file| file.exists())
    }
}
