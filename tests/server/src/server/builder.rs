//! The options of a server, and its first start.

use std::fs;
use std::path::Path;

use super::Server;
use super::settings::SETTINGS;
use crate::Error;
use crate::binaries::Binaries;

/// The rules for the connections of this crate: SQL as the superuser, and copies for standbys.
const SUPERUSER_RULES: &str = "local all postgres trust\nlocal replication postgres trust\n";

/// The options of a [`Server`].
#[derive(Debug, Clone, Default)]
#[must_use = "call start to start the server"]
pub struct Builder {
    pub(super) durable: bool,
    pub(super) tcp: bool,
    pub(super) settings: Vec<(String, String)>,
    hba: Option<String>,
    pub(super) tls: Option<Tls>,
}

/// PEM texts.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) client_ca: Option<String>,
}

impl Builder {
    /// Sets whether committed data survives a crash of the machine. Default: `false`, which turns off
    /// `fsync`, `synchronous_commit` and `full_page_writes`. Benchmarks and tests of crashes need `true`.
    pub fn durable(mut self, on: bool) -> Self {
        self.durable = on;
        self
    }

    /// Sets a parameter of `postgresql.conf`. It overrides the settings that this crate makes.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets whether the server also listens on a free port of 127.0.0.1. Default: `false`. Every user of
    /// this machine can connect there unless [`hba`](Self::hba) forbids it.
    pub fn tcp(mut self, on: bool) -> Self {
        self.tcp = on;
        self
    }

    /// Sets the text of `pg_hba.conf`. Default: every connection is trusted. The superuser `postgres` can
    /// always connect through the socket.
    pub fn hba(mut self, text: &str) -> Self {
        self.hba = Some(text.to_owned());
        self
    }

    /// Turns TLS on, with a certificate and a key as PEM. It needs [`tcp`](Self::tcp), because PostgreSQL has
    /// no TLS on Unix sockets.
    ///
    /// Connections without TLS are accepted as well, unless [`hba`](Self::hba) has `hostssl` in place of
    /// `host`. With `client_ca_pem`, the server verifies the certificates of clients that send one, and
    /// `pg_hba.conf` may use the method `cert`.
    pub fn tls(mut self, cert_pem: &str, key_pem: &str, client_ca_pem: Option<&str>) -> Self {
        self.tls = Some(Tls {
            cert: cert_pem.to_owned(),
            key: key_pem.to_owned(),
            client_ca: client_ca_pem.map(str::to_owned),
        });
        self
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// If this machine has no PostgreSQL, or if the server does not start. The error says what to do, or
    /// contains the end of the server's log.
    pub fn start(self) -> Result<Server, Error> {
        let binaries = Binaries::find()?;
        let initdb = |data: &Path| {
            let data = data.display().to_string();
            let mut args = vec!["-D", &data, "-U", "postgres"];
            args.extend(["--auth=trust", "--no-locale", "--encoding=UTF8"]);
            if !self.durable {
                args.push("--no-sync");
            }
            args.into_iter().map(str::to_owned).collect()
        };
        let mut server = Server::create(binaries, &self, "initdb", initdb)?;
        let main = server.dir.join("data/postgresql.conf");
        let include = fs::read_to_string(&main)
            .and_then(|text| fs::write(&main, format!("{text}include '../{SETTINGS}'\n")));
        include.map_err(Error::io("cannot change postgresql.conf"))?;
        if let Some(hba) = &self.hba {
            server.write_file("data/pg_hba.conf", &format!("{SUPERUSER_RULES}{hba}\n"))?;
        }
        server.first_start()?;
        Ok(server)
    }
}
