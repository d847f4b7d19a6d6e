//! The hosts of the options `host`, `hostaddr` and `port`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use crate::{error::Error, libpq::lookup::Lookup};

const DEFAULT_PORT: u16 = 5432;

pub(crate) struct Host {
    /// The name for TLS, the password file and errors. Empty if only an address is given.
    pub(crate) name: String,
    pub(crate) location: Location,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Location {
    /// The directory of a Unix socket.
    Directory(PathBuf),
    /// The addresses that the name resolves to.
    Name,
    Address(IpAddr),
}

impl Host {
    pub(crate) fn is_unix_socket(&self) -> bool {
        matches!(self.location, Location::Directory(_))
    }

    /// The name in the server's certificate. A path is not such a name.
    pub(crate) fn name_for_tls(&self, ip: IpAddr) -> String {
        if self.name.is_empty() || self.name.contains('/') {
            ip.to_string()
        } else {
            self.name.clone()
        }
    }

    pub(crate) fn name_in_password_file(&self) -> String {
        match &self.location {
            Location::Address(ip) if self.name.is_empty() => ip.to_string(),
            _ => self.name.clone(),
        }
    }
}

/// The host as the options name it, for errors.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Directory(directory) => {
                write!(f, "{}/.s.PGSQL.{}", directory.display(), self.port)
            }
            Location::Address(ip) if self.name.is_empty() => {
                write!(f, "{}", SocketAddr::new(*ip, self.port))
            }
            _ => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// Combines the lists of hosts, addresses and ports.
pub(super) fn hosts(lookup: &Lookup<'_>) -> Result<Vec<Host>, Error> {
    let names = lookup.list("host");
    let addresses = lookup.list("hostaddr");
    let ports = lookup.list("port");
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(Error::invalid_option(format!(
            "there are {} hosts for {} addresses: each host needs one address",
            names.len(),
            addresses.len()
        )));
    }
    let count = names.len().max(addresses.len()).max(1);
    if ports.len() > 1 && ports.len() != count {
        return Err(Error::invalid_option(format!(
            "there are {} ports for {count} hosts: give one for all, or one for each",
            ports.len()
        )));
    }
    (0..count)
        .map(|index| {
            let name = names.get(index).cloned().unwrap_or_default();
            let address = addresses.get(index).map_or("", String::as_str);
            let port = ports
                .get(index)
                .or(ports.first())
                .map_or("", String::as_str);
            host(name, address, port)
        })
        .collect()
}

fn host(name: String, address: &str, port: &str) -> Result<Host, Error> {
    let port = match port {
        "" => DEFAULT_PORT,
        port => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Error::invalid_option("port is not a number from 1 to 65535"))?,
    };
    if !address.is_empty() {
        let address = address
            .parse()
            .map_err(|_| Error::invalid_option("hostaddr is not an IP address"))?;
        return Ok(Host {
            name,
            location: Location::Address(address),
            port,
        });
    }
    if name.starts_with('@') {
        return Err(Error::invalid_option(
            "sockets in the abstract namespace are not supported",
        ));
    }
    if cfg!(unix) && name.starts_with('/') {
        let location = Location::Directory(PathBuf::from(&name));
        return Ok(Host {
            name,
            location,
            port,
        });
    }
    if !name.is_empty() {
        let location = Location::Name;
        return Ok(Host {
            name,
            location,
            port,
        });
    }
    if cfg!(unix) {
        let name = default_directory().to_owned();
        let location = Location::Directory(PathBuf::from(&name));
        return Ok(Host {
            name,
            location,
            port,
        });
    }
    let name = "localhost".to_owned();
    let location = Location::Name;
    Ok(Host {
        name,
        location,
        port,
    })
}

/// The directory of the socket in the packages of PostgreSQL for Linux, or else in PostgreSQL's own build.
pub(super) fn default_directory() -> &'static str {
    const PACKAGED: &str = "/var/run/postgresql";
    if Path::new(PACKAGED).is_dir() {
        PACKAGED
    } else {
        "/tmp"
    }
}
