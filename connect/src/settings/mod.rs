//! The settings of a connection: the options, the environment and the defaults, checked and combined.

mod hosts;
#[cfg(test)]
mod tests;
mod tls;

use std::{path::PathBuf, time::Duration};

use postgres::config::ChannelBinding;

pub(crate) use self::hosts::{Host, Location};
use crate::{
    error::Error,
    libpq::{environment::Environment, lookup::Lookup},
    options::ConnectOptions,
    tls::TlsSettings,
};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_KEEPALIVES_IDLE: Duration = Duration::from_secs(60);

pub(crate) struct Settings {
    pub(crate) hosts: Vec<Host>,
    /// Whether hosts and addresses are tried in random order.
    pub(crate) is_random_order: bool,
    pub(crate) user: String,
    pub(crate) dbname: String,
    pub(crate) password: Password,
    pub(crate) options: Option<String>,
    pub(crate) application_name: Option<String>,
    /// Without a limit if `None`.
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) tcp_user_timeout: Option<Duration>,
    pub(crate) keepalives: Option<Keepalives>,
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) tls: TlsSettings,
    pub(crate) target_role: TargetRole,
}

pub(crate) enum Password {
    /// The password and its origin.
    Given(String, &'static str),
    /// The password is in this file.
    InFile(Option<PathBuf>),
}

pub(crate) struct Keepalives {
    pub(crate) idle: Duration,
    pub(crate) interval: Option<Duration>,
    pub(crate) count: Option<u32>,
}

/// The role that a server must have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TargetRole {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl TargetRole {
    /// The roles to look for, in order of preference.
    pub(crate) fn in_order(self) -> &'static [TargetRole] {
        match self {
            TargetRole::Any => &[TargetRole::Any],
            TargetRole::ReadWrite => &[TargetRole::ReadWrite],
            TargetRole::ReadOnly => &[TargetRole::ReadOnly],
            TargetRole::Primary => &[TargetRole::Primary],
            TargetRole::Standby => &[TargetRole::Standby],
            TargetRole::PreferStandby => &[TargetRole::Standby, TargetRole::Any],
        }
    }

    /// Why a server does not have the role.
    pub(crate) fn mismatch(self, is_read_only: bool, is_standby: bool) -> Option<&'static str> {
        match self {
            TargetRole::ReadWrite if is_read_only => Some("the server is read-only"),
            TargetRole::ReadOnly if !is_read_only => Some("the server is not read-only"),
            TargetRole::Primary if is_standby => Some("the server is a standby"),
            TargetRole::Standby if !is_standby => Some("the server is not a standby"),
            _ => None,
        }
    }
}

impl Settings {
    pub(crate) fn new(options: &ConnectOptions) -> Result<Settings, Error> {
        Settings::within(options, &Environment::of_process()?)
    }

    fn within(options: &ConnectOptions, environment: &Environment) -> Result<Settings, Error> {
        let lookup = Lookup::new(options, environment)?;
        let user = match lookup.value("user") {
            Some(user) => user,
            None => environment.user.clone().map_err(|why| {
                Error::invalid_option(format!(
                    "`user` is not set, and the operating system does not name its user: {why}"
                ))
            })?,
        };
        let keepalives = lookup.number("keepalives")?.unwrap_or(1i64) != 0;
        let hosts = hosts::hosts(&lookup)?;
        Ok(Settings {
            tls: tls::settings(&lookup, environment, &hosts)?,
            hosts,
            is_random_order: lookup
                .one_of(
                    "load_balance_hosts",
                    &[("disable", false), ("random", true)],
                )?
                .unwrap_or(false),
            dbname: lookup.value("dbname").unwrap_or_else(|| user.clone()),
            user,
            password: password(&lookup, environment),
            options: lookup.value("options"),
            application_name: lookup
                .value("application_name")
                .or_else(|| lookup.value("fallback_application_name")),
            connect_timeout: match lookup.number::<i64>("connect_timeout")? {
                None => Some(DEFAULT_CONNECT_TIMEOUT),
                Some(seconds) => u64::try_from(seconds)
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs),
            },
            tcp_user_timeout: match lookup.number("tcp_user_timeout")? {
                None => Some(DEFAULT_TCP_USER_TIMEOUT),
                Some(0) => None,
                Some(millis) => Some(Duration::from_millis(millis)),
            },
            keepalives: if keepalives {
                Some(Keepalives {
                    idle: lookup
                        .number("keepalives_idle")?
                        .filter(|seconds| *seconds > 0)
                        .map_or(DEFAULT_KEEPALIVES_IDLE, Duration::from_secs),
                    interval: lookup
                        .number("keepalives_interval")?
                        .filter(|seconds| *seconds > 0)
                        .map(Duration::from_secs),
                    count: lookup
                        .number("keepalives_count")?
                        .filter(|count| *count > 0),
                })
            } else {
                None
            },
            channel_binding: lookup
                .one_of(
                    "channel_binding",
                    &[
                        ("disable", ChannelBinding::Disable),
                        ("prefer", ChannelBinding::Prefer),
                        ("require", ChannelBinding::Require),
                    ],
                )?
                .unwrap_or(ChannelBinding::Prefer),
            target_role: lookup
                .one_of(
                    "target_session_attrs",
                    &[
                        ("any", TargetRole::Any),
                        ("read-write", TargetRole::ReadWrite),
                        ("read-only", TargetRole::ReadOnly),
                        ("primary", TargetRole::Primary),
                        ("standby", TargetRole::Standby),
                        ("prefer-standby", TargetRole::PreferStandby),
                    ],
                )?
                .unwrap_or(TargetRole::Any),
        })
    }
}

fn password(lookup: &Lookup<'_>, environment: &Environment) -> Password {
    if let Some(password) = lookup.chosen("password") {
        return Password::Given(password, "the options");
    }
    if let Some(password) = environment.variable("PGPASSWORD") {
        return Password::Given(password, "PGPASSWORD");
    }
    let file = lookup.value("passfile").map(PathBuf::from);
    Password::InFile(file.or_else(|| environment.passfile.clone()))
}
