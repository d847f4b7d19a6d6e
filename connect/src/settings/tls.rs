//! The settings of TLS.

use crate::{
    error::Error,
    libpq::{environment::Environment, lookup::Lookup},
    settings::Host,
    ssl_mode::SslMode,
    tls::{Identity, Roots, TlsSettings},
};

pub(super) fn settings(
    lookup: &Lookup<'_>,
    environment: &Environment,
    hosts: &[Host],
) -> Result<TlsSettings, Error> {
    let (mode, is_given) = sslmode(lookup, environment)?;
    let roots = match lookup.file("sslrootcert", "root.crt") {
        Some(file) if file.as_os_str() == "system" => Roots::System,
        Some(file) => Roots::File(file),
        None => Roots::None,
    };
    let mode = match roots {
        // A Unix socket has no TLS, so its files are not needed.
        _ if hosts.iter().all(Host::is_unix_socket) => SslMode::Disable,
        Roots::System if !is_given => SslMode::VerifyFull,
        Roots::System if mode != SslMode::VerifyFull => {
            return Err(Error::invalid_option(
                "sslrootcert=system needs sslmode=verify-full, because every host name can get a certificate",
            ));
        }
        Roots::None if mode >= SslMode::VerifyCa => {
            return Err(Error::invalid_option(format!(
                "sslmode={mode} needs root certificates: name their file with sslrootcert, or use those of the \
                 system with sslrootcert=system"
            )));
        }
        _ => mode,
    };
    Ok(TlsSettings {
        mode,
        roots,
        revoked: lookup.file("sslcrl", "root.crl"),
        identity: identity(lookup, mode)?,
        sends_name: lookup.number("sslsni")?.unwrap_or(1i64) != 0,
    })
}

/// The mode, and whether the options or the environment set it.
fn sslmode(lookup: &Lookup<'_>, environment: &Environment) -> Result<(SslMode, bool), Error> {
    let named = lookup
        .value("sslmode")
        .map(|mode| mode.parse())
        .transpose()?;
    let mode = named.unwrap_or(SslMode::Prefer);
    let is_required = |value: Option<String>| value.is_some_and(|value| value.starts_with('1'));
    // PGSSLMODE has precedence over PGREQUIRESSL. Otherwise the stricter option counts.
    if is_required(lookup.chosen("requiressl"))
        || named.is_none() && is_required(environment.variable("PGREQUIRESSL"))
    {
        return Ok((mode.max(SslMode::Require), true));
    }
    Ok((mode, named.is_some()))
}

fn identity(lookup: &Lookup<'_>, mode: SslMode) -> Result<Option<Identity>, Error> {
    let certificate = match lookup.file("sslcert", "postgresql.crt") {
        Some(certificate) if mode != SslMode::Disable => certificate,
        _ => return Ok(None),
    };
    match lookup.file("sslkey", "postgresql.key") {
        Some(key) => Ok(Some(Identity {
            certificate,
            key,
            key_password: lookup.value("sslpassword"),
        })),
        None => Err(Error::invalid_option(
            "there is a client certificate but no key for it: name the key's file with sslkey",
        )),
    }
}
