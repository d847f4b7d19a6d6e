//! The settings file of a server.

use super::Server;
use crate::Error;
use crate::directory::write_private;

/// The port of a server that listens only on its socket. The name of the socket contains it.
pub(super) const SOCKET_PORT: u16 = 5432;

/// These settings protect data from a crash of the machine, which is not necessary in most tests.
const DURABILITY: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// The settings are in this file, because `ALTER SYSTEM` cannot override command-line arguments.
pub(super) const SETTINGS: &str = "server.conf";

const CERT: &str = "server.crt";
const KEY: &str = "server.key";
const CLIENT_CA: &str = "client-ca.crt";

impl Server {
    /// Writes the settings with this port, and the connection strings.
    pub(super) fn set_port(&mut self, port: u16) -> Result<(), Error> {
        self.port = port;
        let dir = self.dir.display().to_string();
        let port = port.to_string();
        let address = if self.options.tcp { "127.0.0.1" } else { "" };
        let mut settings = vec![
            ("unix_socket_directories", &*dir),
            ("listen_addresses", address),
            ("port", &port),
            ("max_connections", "100"),
            ("shared_buffers", "64MB"),
            // A standby reconnects to its primary after this time, and tests wait for that.
            ("wal_retrieve_retry_interval", "100ms"),
        ];
        if !self.options.durable {
            settings.extend(DURABILITY.map(|name| (name, "off")));
        }
        let pem_path = |name| self.dir.join(name).display().to_string();
        let [cert, key, client_ca] = [CERT, KEY, CLIENT_CA].map(pem_path);
        if let Some(tls) = &self.options.tls {
            self.write_file(CERT, &tls.cert)?;
            self.write_file(KEY, &tls.key)?;
            settings.extend([
                ("ssl", "on"),
                ("ssl_cert_file", &cert),
                ("ssl_key_file", &key),
            ]);
            if let Some(pem) = &tls.client_ca {
                self.write_file(CLIENT_CA, pem)?;
                settings.push(("ssl_ca_file", &client_ca));
            }
        }
        // PostgreSQL uses the last value of a parameter.
        let overrides = self.options.settings.iter();
        settings.extend(overrides.map(|(name, value)| (&**name, &**value)));
        let lines = settings
            .iter()
            .map(|(name, value)| format!("{name} = {}\n", quoted(value)));
        self.write_file(SETTINGS, &lines.collect::<String>())?;

        let url = |host: &str| format!("host={host} port={port} user=postgres dbname=postgres");
        self.url = url(&dir);
        self.tcp_url = self.options.tcp.then(|| url("127.0.0.1"));
        Ok(())
    }

    /// Writes a file in the server's directory that only the server's user can read.
    pub(super) fn write_file(&self, name: &str, text: &str) -> Result<(), Error> {
        write_private(&self.dir.join(name), text, self.user.as_ref())
    }
}

/// Quotes a value of `postgresql.conf`.
fn quoted(value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('\n', r"\n");
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_postgresql_conf() {
        assert_eq!(quoted("64MB"), "'64MB'");
        assert_eq!(quoted("it's C:\\\n"), r"'it''s C:\\\n'");
    }
}
