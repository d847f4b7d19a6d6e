//! The servers that may be connected to.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use super::found::{Found, invalid};
use crate::Error;

const DEFAULT_PORT: u16 = 5432;

pub(super) struct Host {
    /// As TLS, the password file and the user know it; empty where only an address is given.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) port: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// The folder of a Unix socket.
    Folder(PathBuf),
    /// Where the name leads to.
    Name,
    Address(IpAddr),
}

impl Host {
    /// Whether it is a Unix socket.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.place, Place::Folder(_))
    }

    /// What its certificate has to be made out to. Paths are no such names.
    pub(super) fn name_for_tls(&self, ip: IpAddr) -> String {
        if self.name.is_empty() || self.name.contains('/') {
            ip.to_string()
        } else {
            self.name.clone()
        }
    }

    /// As the password file calls it.
    pub(super) fn name_for_passwords(&self) -> String {
        match &self.place {
            Place::Address(ip) if self.name.is_empty() => ip.to_string(),
            _ => self.name.clone(),
        }
    }
}

/// As it was called, for errors.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Folder(folder) => {
                write!(f, "{}/.s.PGSQL.{}", folder.display(), self.port)
            }
            Place::Address(ip) if self.name.is_empty() => {
                write!(f, "{}", SocketAddr::new(*ip, self.port))
            }
            _ => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// Each of them, as the lists of hosts, addresses and ports go together.
pub(super) fn hosts(found: &Found<'_>) -> Result<Vec<Host>, Error> {
    let names = found.list("host");
    let addresses = found.list("hostaddr");
    let ports = found.list("port");
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(invalid(&format!(
            "there are {} hosts for {} addresses of hosts: each needs one",
            names.len(),
            addresses.len()
        )));
    }
    let count = names.len().max(addresses.len()).max(1);
    if ports.len() > 1 && ports.len() != count {
        return Err(invalid(&format!(
            "there are {} ports for {count} hosts: give one for all, or one for each",
            ports.len()
        )));
    }
    (0..count)
        .map(|place| {
            let name = names.get(place).cloned().unwrap_or_default();
            let address = addresses.get(place).map_or("", String::as_str);
            let port = ports
                .get(place)
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
            .ok_or_else(|| invalid("port is not a number from 1 to 65535"))?,
    };
    if !address.is_empty() {
        let address = address
            .parse()
            .map_err(|_| invalid("hostaddr is not an IP address"))?;
        return Ok(Host {
            name,
            place: Place::Address(address),
            port,
        });
    }
    if name.starts_with('@') {
        return Err(invalid(
            "sockets in the abstract namespace are not supported",
        ));
    }
    if cfg!(unix) && name.starts_with('/') {
        let place = Place::Folder(PathBuf::from(&name));
        return Ok(Host { name, place, port });
    }
    if !name.is_empty() {
        let place = Place::Name;
        return Ok(Host { name, place, port });
    }
    if cfg!(unix) {
        let name = default_folder().to_owned();
        let place = Place::Folder(PathBuf::from(&name));
        return Ok(Host { name, place, port });
    }
    let name = "localhost".to_owned();
    let place = Place::Name;
    Ok(Host { name, place, port })
}

/// Where PostgreSQL's own packages, and then PostgreSQL itself, have the socket.
pub(super) fn default_folder() -> &'static str {
    const PACKAGED: &str = "/var/run/postgresql";
    if Path::new(PACKAGED).is_dir() {
        PACKAGED
    } else {
        "/tmp"
    }
}
