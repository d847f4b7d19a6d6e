//! The values of keywords: from the options, else from a service, else from the environment.

use std::{path::PathBuf, str::FromStr};

use super::{
    environment::Environment,
    keyword::{self, KEYWORDS, Support},
    service_file,
};
use crate::{
    error::Error,
    options::{ConnectOptions, Values, refused},
};

pub(crate) struct Lookup<'a> {
    options: Values,
    service: Values,
    environment: &'a Environment,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(
        options: &'a ConnectOptions,
        environment: &'a Environment,
    ) -> Result<Lookup<'a>, Error> {
        let mut lookup = Lookup {
            options: options.values(),
            service: Values::new(),
            environment,
        };
        for keyword in KEYWORDS {
            let value = keyword.variable.and_then(|name| environment.variable(name));
            if keyword.support == Support::Refused && value.is_some() {
                return Err(refused(keyword.variable.unwrap_or(keyword.name)));
            }
        }
        if let Some(name) = lookup.value("service") {
            lookup.service = service(&name, &lookup)?;
        }
        if lookup.options.values().any(|value| value.contains('\0')) {
            return Err(Error::invalid_option("a value contains a NUL character"));
        }
        lookup.one_of("sslnegotiation", &[("postgres", ())])?;
        if lookup.value("gssencmode").as_deref() == Some("require") {
            return Err(Error::invalid_option(
                "gssencmode=require: encryption by GSSAPI is not supported",
            ));
        }
        Ok(lookup)
    }

    /// The value of a keyword. An empty value counts as none.
    pub(crate) fn value(&self, keyword: &str) -> Option<String> {
        self.chosen(keyword).or_else(|| {
            let variable = keyword::find(keyword)?.variable?;
            self.environment.variable(variable)
        })
    }

    /// Like [`value`](Self::value), without the environment.
    pub(crate) fn chosen(&self, keyword: &str) -> Option<String> {
        [&self.options, &self.service]
            .iter()
            .find_map(|values| values.get(keyword).filter(|value| !value.is_empty()))
            .cloned()
    }

    pub(crate) fn number<T: FromStr>(&self, keyword: &str) -> Result<Option<T>, Error> {
        self.value(keyword)
            .map(|value| value.trim().parse())
            .transpose()
            .map_err(|_| {
                Error::invalid_option(format!(
                    "{keyword} is not a whole number, or is out of range"
                ))
            })
    }

    pub(crate) fn one_of<T: Copy>(
        &self,
        keyword: &str,
        values: &[(&str, T)],
    ) -> Result<Option<T>, Error> {
        let Some(given) = self.value(keyword) else {
            return Ok(None);
        };
        match values.iter().find(|(name, _)| *name == given) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let names: Vec<_> = values.iter().map(|(name, _)| *name).collect();
                Err(Error::invalid_option(format!(
                    "{keyword} is none of {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// The file that a keyword names, or else the user's file of this name.
    pub(crate) fn file(&self, keyword: &str, default: &str) -> Option<PathBuf> {
        self.value(keyword)
            .map(PathBuf::from)
            .or_else(|| self.environment.tls_file(default))
    }

    pub(crate) fn list(&self, keyword: &str) -> Vec<String> {
        self.value(keyword)
            .map(|list| list.split(',').map(|part| part.trim().to_owned()).collect())
            .unwrap_or_default()
    }
}

fn service(name: &str, lookup: &Lookup<'_>) -> Result<Values, Error> {
    let file = lookup.value("servicefile").map(PathBuf::from);
    let system = lookup
        .environment
        .variable("PGSYSCONFDIR")
        .map(PathBuf::from);
    let sources = service_file::Sources {
        file: file.as_deref(),
        user_file: lookup.environment.service_file.as_deref(),
        system_directory: system.as_deref(),
    };
    let pairs = service_file::read(name, sources).map_err(Error::invalid_option)?;
    let mut values = Values::new();
    for (keyword, value) in pairs {
        match keyword::find(&keyword) {
            None => {
                return Err(Error::invalid_option(format!(
                    "the service {name:?} has a keyword that libpq does not have"
                )));
            }
            Some(known) if known.support == Support::Refused => return Err(refused(known.name)),
            Some(known) => values.insert(known.name, value),
        };
    }
    Ok(values)
}
