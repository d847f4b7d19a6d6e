//! The values of keywords, from the nearest place that has one.

use std::{path::PathBuf, str::FromStr};

use super::{
    environment::Environment,
    keyword::{self, KEYWORDS, Use},
    options::{ConnectOptions, Values, refused},
    service,
};
use crate::Error;

/// What is given, then a service, then the environment.
pub(super) struct Found<'a> {
    given: Values,
    service: Values,
    environment: &'a Environment,
}

impl<'a> Found<'a> {
    pub(super) fn of(
        options: &'a ConnectOptions,
        environment: &'a Environment,
    ) -> Result<Found<'a>, Error> {
        let mut found = Found {
            given: options.values(),
            service: Values::new(),
            environment,
        };
        for keyword in KEYWORDS {
            let value = keyword.variable.and_then(|name| environment.variable(name));
            if keyword.usage == Use::Refused && value.is_some() {
                return Err(refused(keyword.variable.unwrap_or(keyword.name)));
            }
        }
        if let Some(name) = found.value("service") {
            found.service = service(&name, &found)?;
        }
        if found.given.values().any(|value| value.contains('\0')) {
            return Err(invalid("no value may have a NUL in it"));
        }
        found.one_of("sslnegotiation", &[("postgres", ())])?;
        if found.value("gssencmode").as_deref() == Some("require") {
            return Err(invalid(
                "gssencmode=require: encryption by GSSAPI is not supported",
            ));
        }
        Ok(found)
    }

    /// The value of a keyword; an empty one is none.
    pub(super) fn value(&self, keyword: &str) -> Option<String> {
        self.chosen(keyword).or_else(|| {
            let variable = keyword::find(keyword)?.variable?;
            self.environment.variable(variable)
        })
    }

    /// As [`value`](Self::value), where it does not come from the environment.
    pub(super) fn chosen(&self, keyword: &str) -> Option<String> {
        [&self.given, &self.service]
            .iter()
            .find_map(|values| values.get(keyword).filter(|value| !value.is_empty()))
            .cloned()
    }

    pub(super) fn number<T: FromStr>(&self, keyword: &str) -> Result<Option<T>, Error> {
        self.value(keyword)
            .map(|value| value.trim().parse())
            .transpose()
            .map_err(|_| invalid(&format!("{keyword} is not a whole number, or out of range")))
    }

    pub(super) fn one_of<T: Copy>(
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
                Err(invalid(&format!(
                    "{keyword} is none of {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// A file that is named, or else the user's own of this name.
    pub(super) fn file(&self, keyword: &str, default: &str) -> Option<PathBuf> {
        self.value(keyword)
            .map(PathBuf::from)
            .or_else(|| self.environment.tls_file(default))
    }

    pub(super) fn list(&self, keyword: &str) -> Vec<String> {
        self.value(keyword)
            .map(|list| list.split(',').map(|part| part.trim().to_owned()).collect())
            .unwrap_or_default()
    }
}

pub(super) fn invalid(what: &str) -> Error {
    Error::InvalidOption(what.to_owned())
}

fn service(name: &str, found: &Found<'_>) -> Result<Values, Error> {
    let file = found.value("servicefile").map(PathBuf::from);
    let system = found
        .environment
        .variable("PGSYSCONFDIR")
        .map(PathBuf::from);
    let places = service::Places {
        file: file.as_deref(),
        user_file: found.environment.service_file.as_deref(),
        system_folder: system.as_deref(),
    };
    let pairs = service::read(name, places).map_err(Error::InvalidOption)?;
    let mut values = Values::new();
    for (keyword, value) in pairs {
        match keyword::find(&keyword) {
            None => {
                return Err(invalid(&format!(
                    "the service {name:?} has a keyword that libpq does not know"
                )));
            }
            Some(known) if known.usage == Use::Refused => return Err(refused(known.name)),
            Some(known) => values.insert(known.name, value),
        };
    }
    Ok(values)
}
