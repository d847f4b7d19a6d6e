//! PgBouncer in front of a server.

use std::env;
use std::path::{Path, PathBuf};

use crate::directory::{self, write_private};
use crate::port::free_port;
use crate::supervisor::{Supervisor, log};
use crate::user::User;
use crate::{Error, Server};

/// Packages install PgBouncer here. Not all users have these directories in `PATH`.
const SBIN_DIRS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// PgBouncer in front of a server, in transaction mode: a client has a server connection only during a
/// transaction. Dropping it stops PgBouncer and deletes its files.
#[derive(Debug)]
pub struct Pooler {
    supervisor: Supervisor,
    url: String,
    tcp_url: String,
}

/// The options of a [`Pooler`].
#[derive(Debug, Clone)]
#[must_use = "call start to start the pooler"]
pub struct PoolerBuilder {
    pool_size: u32,
    settings: Vec<(String, String)>,
}

impl PoolerBuilder {
    /// Sets the number of server connections for each user and database. Default: 2.
    pub fn pool_size(mut self, size: u32) -> Self {
        self.pool_size = size;
        self
    }

    /// Sets a parameter in the section `pgbouncer` of `pgbouncer.ini`. It overrides the settings that this
    /// crate makes.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the pooler and waits until it accepts connections. Returns `None` if PgBouncer is neither in
    /// `PATH` nor in `/usr/sbin` or `/usr/local/sbin`.
    ///
    /// # Errors
    ///
    /// If the pooler does not start. The error contains the end of its log.
    pub fn start(self, server: &Server) -> Result<Option<Pooler>, Error> {
        let Some(bin) = find() else { return Ok(None) };
        let mut tries = 5;
        loop {
            let pooler = self.start_once(&bin, server)?;
            tries -= 1;
            // Another program has taken the port in the meantime. PgBouncer then runs without a port.
            if !pooler.supervisor.log().contains("cannot listen on") {
                return Ok(Some(pooler));
            }
            if tries == 0 {
                return Err(pooler.supervisor.failed("the pooler found no free port"));
            }
        }
    }

    fn start_once(&self, bin: &Path, server: &Server) -> Result<Pooler, Error> {
        let (mut supervisor, user) = directory::create()?;
        let dir = supervisor.dir().to_owned();
        let port = free_port()?;
        let ini = self.write_ini(server, &dir, port, user.as_ref())?;
        supervisor.run(bin, "pgbouncer", &[ini], user.as_ref())?;
        let up = || log(&dir).contains("process up:");
        if let Some(status) = supervisor.wait("starting the pooler", up)? {
            return Err(supervisor.failed(&format!("the pooler did not start ({status})")));
        }
        let url = |host: &str| format!("host={host} port={port} user=postgres dbname=postgres");
        Ok(Pooler {
            supervisor,
            url: url(&dir.to_string_lossy()),
            tcp_url: url("127.0.0.1"),
        })
    }

    fn write_ini(
        &self,
        server: &Server,
        dir: &Path,
        port: u16,
        user: Option<&User>,
    ) -> Result<PathBuf, Error> {
        let users = dir.join("users");
        write_private(&users, "\"postgres\" \"\"\n", user)?;
        let overrides = self.settings.iter();
        let overrides = overrides.map(|(name, value)| format!("{name} = {value}\n"));
        // With `auth_user`, PgBouncer looks up users other than `postgres` in the server. With a short
        // `server_login_retry`, it reconnects soon after a restart of the server, and tests wait for that.
        let text = format!(
            "[databases]\n\
             * = host={socket_dir} port={server_port}\n\
             [pgbouncer]\n\
             unix_socket_dir = {dir}\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             auth_type = trust\n\
             auth_file = {users}\n\
             auth_user = postgres\n\
             admin_users = postgres\n\
             pool_mode = transaction\n\
             default_pool_size = {size}\n\
             max_client_conn = 200\n\
             server_login_retry = 0.1\n\
             {overrides}",
            socket_dir = server.socket_dir().display(),
            server_port = server.port(),
            dir = dir.display(),
            users = users.display(),
            size = self.pool_size,
            overrides = overrides.collect::<String>(),
        );
        let ini = dir.join("pgbouncer.ini");
        write_private(&ini, &text, user)?;
        Ok(ini)
    }
}

impl Pooler {
    /// Starts a pooler with the default options. Returns `None` if there is no PgBouncer.
    ///
    /// # Errors
    ///
    /// See [`PoolerBuilder::start`].
    pub fn start(server: &Server) -> Result<Option<Self>, Error> {
        Self::builder().start(server)
    }

    /// Returns a builder with the default options.
    pub fn builder() -> PoolerBuilder {
        PoolerBuilder {
            pool_size: 2,
            settings: Vec::new(),
        }
    }

    /// Returns the connection string, through the pooler's socket and as the superuser `postgres`.
    ///
    /// The pooler accepts every user of the server without a password. The server decides whether it accepts
    /// the user too. The database `pgbouncer` is the pooler's console, for commands such as `SHOW POOLS`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the connection string for 127.0.0.1.
    pub fn tcp_url(&self) -> &str {
        &self.tcp_url
    }

    /// Returns the directory of the pooler's socket. It also contains the settings and the file `log`.
    pub fn socket_dir(&self) -> &Path {
        self.supervisor.dir()
    }
}

/// Returns the directory of PgBouncer's program.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SBIN_DIRS.map(PathBuf::from))
        .find(|dir| dir.is_absolute() && dir.join("pgbouncer").is_file())
}
