//! The environment of the program: variables, and the files of its user.

use std::{
    collections::HashMap,
    env::{self, VarError},
    path::PathBuf,
};

use super::{keyword::KEYWORDS, password_file, service_file};
use crate::error::Error;

pub(crate) struct Environment {
    pub(crate) variables: HashMap<&'static str, String>,
    /// The name of the operating system's user.
    pub(crate) user: Result<String, String>,
    /// The user's files. `None` if the user has no home directory.
    pub(crate) passfile: Option<PathBuf>,
    pub(crate) service_file: Option<PathBuf>,
    pub(crate) tls_directory: Option<PathBuf>,
}

/// Variables without a keyword.
const OTHERS: [&str; 1] = ["PGSYSCONFDIR"];

impl Environment {
    pub(crate) fn of_process() -> Result<Environment, Error> {
        let mut variables = HashMap::new();
        let names = KEYWORDS.iter().filter_map(|keyword| keyword.variable);
        for name in names.chain(OTHERS) {
            match env::var(name) {
                Ok(value) => drop(variables.insert(name, value)),
                Err(VarError::NotPresent) => {}
                // Ignoring it might make the connection less safe.
                Err(VarError::NotUnicode(_)) => {
                    return Err(Error::invalid_option(format!("{name} is not UTF-8")));
                }
            }
        }
        let tls_directory = if cfg!(windows) { "" } else { ".postgresql" };
        Ok(Environment {
            variables,
            user: whoami::username().map_err(|e| e.to_string()),
            passfile: password_file::default_path(),
            service_file: service_file::default_path(),
            tls_directory: password_file::user_directory().map(|home| home.join(tls_directory)),
        })
    }

    /// The value of a variable. An empty value counts as none.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let value = self.variables.get(name)?;
        Some(value.clone()).filter(|value| !value.is_empty())
    }

    /// One of the user's files for TLS, if it exists.
    pub(crate) fn tls_file(&self, name: &str) -> Option<PathBuf> {
        let file = self.tls_directory.as_ref()?.join(name);
        Some(file).filter(|file| file.exists())
    }
}
