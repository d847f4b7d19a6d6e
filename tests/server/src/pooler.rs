//! A pooler in front of a server.

use std::env;
use std::path::{Path, PathBuf};

use crate::place::{self, free_port};
use crate::supervisor::{Supervisor, log};
use crate::user::User;
use crate::{Error, Server};

/// Where packages put it: not all users have these in `PATH`.
const PLACES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// PgBouncer in front of a server: each transaction gets one of few connections to the server. Dropping
/// it stops it and removes all of it.
#[derive(Debug)]
pub struct Pooler {
    supervisor: Supervisor,
    url: String,
    tcp_url: String,
}

/// What kind of pooler to start.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before start"]
pub struct PoolerBuilder {
    pool_size: u32,
    settings: Vec<(String, String)>,
}

impl PoolerBuilder {
    /// How many connections to the server there are for each user and database: 2 if this is not said.
    pub fn pool_size(mut self, size: u32) -> Self {
        self.pool_size = size;
        self
    }

    /// Sets a parameter, as in the section `pgbouncer` of `pgbouncer.ini`. It wins over what is set here
    /// otherwise.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the pooler and waits until it accepts connections. `None` where there is no PgBouncer: it
    /// is looked for in `PATH`, `/usr/sbin` and `/usr/local/sbin`.
    ///
    /// # Errors
    ///
    /// When it cannot start; the error has the end of its log.
    pub fn start(self, server: &Server) -> Result<Option<Pooler>, Error> {
        let Some(bin) = find() else { return Ok(None) };
        let mut tries = 5;
        loop {
            let pooler = self.start_once(&bin, server)?;
            tries -= 1;
            // Somebody else was faster to take the port; it runs on without.
            if !pooler.supervisor.log().contains("cannot listen on") {
                return Ok(Some(pooler));
            }
            if tries == 0 {
                return Err(pooler.supervisor.failed("the pooler has no port"));
            }
        }
    }

    fn start_once(&self, bin: &Path, server: &Server) -> Result<Pooler, Error> {
        let (mut supervisor, user) = place::make()?;
        let folder = supervisor.folder().to_owned();
        let port = free_port()?;
        let ini = self.write(server, &folder, port, user.as_ref())?;
        supervisor.run(bin, "pgbouncer", &[ini], user.as_ref())?;
        let up = || log(&folder).contains("process up:");
        if let Some(status) = supervisor.wait("starting the pooler", up)? {
            return Err(supervisor.failed(&format!("the pooler did not start ({status})")));
        }
        let url = |host: &str| format!("host={host} port={port} user=postgres dbname=postgres");
        Ok(Pooler {
            supervisor,
            url: url(&folder.to_string_lossy()),
            tcp_url: url("127.0.0.1"),
        })
    }

    fn write(
        &self,
        server: &Server,
        folder: &Path,
        port: u16,
        user: Option<&User>,
    ) -> Result<PathBuf, Error> {
        let users = folder.join("users");
        place::write(&users, "\"postgres\" \"\"\n", user)?;
        let told = self.settings.iter();
        let told = told.map(|(name, value)| format!("{name} = {value}\n"));
        // Users other than postgres are looked up in the server. After a restart of the server the
        // pooler tries again soon: tests wait for it.
        let text = format!(
            "[databases]\n\
             * = host={socket_dir} port={server_port}\n\
             [pgbouncer]\n\
             unix_socket_dir = {folder}\n\
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
             {told}",
            socket_dir = server.socket_dir().display(),
            server_port = server.port(),
            folder = folder.display(),
            users = users.display(),
            size = self.pool_size,
            told = told.collect::<String>(),
        );
        let ini = folder.join("pgbouncer.ini");
        place::write(&ini, &text, user)?;
        Ok(ini)
    }
}

impl Pooler {
    /// Starts a pooler with two connections to the server; `None` where there is no PgBouncer.
    ///
    /// # Errors
    ///
    /// As [`PoolerBuilder::start`].
    pub fn start(server: &Server) -> Result<Option<Self>, Error> {
        Self::builder().start(server)
    }

    /// For another kind of pooler.
    pub fn builder() -> PoolerBuilder {
        PoolerBuilder {
            pool_size: 2,
            settings: Vec::new(),
        }
    }

    /// The connection string, through the pooler's socket and as the superuser `postgres`. Every user of
    /// the server comes in without a password, and so to the server itself, if that lets them. The
    /// database `pgbouncer` is the pooler's own, with `SHOW POOLS` and the like.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for 127.0.0.1.
    pub fn tcp_url(&self) -> &str {
        &self.tcp_url
    }

    /// The folder of the pooler's socket, which also has its settings and the file `log`.
    pub fn socket_dir(&self) -> &Path {
        self.supervisor.folder()
    }
}

/// The folder that has it.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(PLACES.map(PathBuf::from))
        .find(|dir| dir.is_absolute() && dir.join("pgbouncer").is_file())
}
