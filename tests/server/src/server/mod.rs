//! A throwaway server.

mod builder;
mod settings;
mod standby;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::settings::SOCKET_PORT;
use crate::Error;
use crate::binaries::Binaries;
use crate::directory;
use crate::port::free_port;
use crate::psql::{literal, psql};
use crate::supervisor::Supervisor;
use crate::user::User;
use crate::wait::wait_until;

pub use self::builder::Builder;

/// A new PostgreSQL server with an empty database. Dropping it stops the server and deletes its files.
#[derive(Debug)]
pub struct Server {
    supervisor: Mutex<Supervisor>,
    binaries: Binaries,
    user: Option<User>,
    dir: PathBuf,
    options: Builder,
    port: u16,
    url: String,
    tcp_url: Option<String>,
}

impl Server {
    /// Starts a server for tests: fast, but a crash of the machine may lose data.
    ///
    /// # Errors
    ///
    /// See [`Builder::start`].
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Returns a builder with the default options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Creates the server's directory and lets `program` create the data in it.
    fn create(
        binaries: Binaries,
        options: &Builder,
        program: &str,
        args: impl FnOnce(&Path) -> Vec<String>,
    ) -> Result<Self, Error> {
        let (mut supervisor, user) = directory::create()?;
        if let Some(user) = &user {
            for program in [program, "postgres"].map(|name| binaries.dir.join(name)) {
                if !user.has_access("-x", &program) {
                    return Err(Error::new(format!(
                        "the user {} cannot run {}, and PostgreSQL refuses to run as root: give that user \
                         access to the directory and its parents, or set PG_BIN to a directory that it can \
                         access",
                        user.name,
                        program.display()
                    )));
                }
            }
        }
        let dir = supervisor.dir().to_owned();
        supervisor.run(
            &binaries.dir,
            program,
            &args(&dir.join("data")),
            user.as_ref(),
        )?;
        match supervisor.wait(program, || false)? {
            Some(status) if !status.success() => {
                return Err(supervisor.failed(&format!("{program} failed ({status})")));
            }
            _ => {}
        }
        Ok(Self {
            supervisor: Mutex::new(supervisor),
            binaries,
            user,
            dir,
            options: options.clone(),
            port: SOCKET_PORT,
            url: String::new(),
            tcp_url: None,
        })
    }

    /// Chooses a port and starts the server.
    fn first_start(&mut self) -> Result<(), Error> {
        let tcp = self.options.tcp;
        let mut tries = if tcp { 5 } else { 1 };
        loop {
            self.set_port(if tcp { free_port()? } else { SOCKET_PORT })?;
            tries -= 1;
            match self.start_again() {
                // Another program has taken the port in the meantime.
                Err(_) if tries > 0 && self.port_was_taken() => {}
                started => return started,
            }
        }
    }

    /// Returns the connection string, through the socket and as the superuser `postgres`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the connection string for 127.0.0.1, or `None` without [`Builder::tcp`].
    pub fn tcp_url(&self) -> Option<&str> {
        self.tcp_url.as_deref()
    }

    /// Returns the directory of the socket. It also contains `data` and the file `log`.
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the directory of PostgreSQL's programs.
    pub fn bin_dir(&self) -> &Path {
        &self.binaries.dir
    }

    /// Returns the output of `postgres --version`.
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// Shuts the server down and waits until it has ended (PostgreSQL's fast shutdown). This closes all
    /// connections. Does nothing if the server does not run.
    ///
    /// # Errors
    ///
    /// If the server does not stop in time.
    pub fn stop(&self) -> Result<(), Error> {
        self.end("INT")
    }

    /// Stops the server as a crash does, and waits until it has ended (PostgreSQL's immediate shutdown).
    /// Unless the server is [durable](Builder::durable), it may lose the transactions of the last second.
    ///
    /// # Errors
    ///
    /// If the server does not stop in time.
    pub fn kill(&self) -> Result<(), Error> {
        self.end("QUIT")
    }

    fn end(&self, signal: &str) -> Result<(), Error> {
        let mut supervisor = self.supervisor();
        if supervisor.is_running()? {
            supervisor.signal(signal)?;
            supervisor.wait("stopping the server", || false)?;
        }
        Ok(())
    }

    /// Starts a stopped server with the same data, socket and port, and waits until it accepts connections.
    /// Does nothing if the server runs.
    ///
    /// # Errors
    ///
    /// If the server does not start. The error contains the end of its log.
    pub fn start_again(&self) -> Result<(), Error> {
        let mut supervisor = self.supervisor();
        if supervisor.is_running()? {
            return Ok(());
        }
        let pid = supervisor.run(
            &self.binaries.dir,
            "postgres",
            &["-D".into(), self.dir.join("data")],
            self.user.as_ref(),
        )?;
        match supervisor.wait("starting the server", || self.is_ready(pid))? {
            Some(status) => Err(supervisor.failed(&format!("the server did not start ({status})"))),
            None => Ok(()),
        }
    }

    /// Calls [`stop`](Self::stop), then [`start_again`](Self::start_again).
    ///
    /// # Errors
    ///
    /// If the server does not stop, or does not start again.
    pub fn restart(&self) -> Result<(), Error> {
        self.stop()?;
        self.start_again()
    }

    /// Suspends all processes of the server (`SIGSTOP`). The operating system still accepts connections,
    /// but the server does not answer. [`resume`](Self::resume), [`stop`](Self::stop) and
    /// [`kill`](Self::kill) end the pause.
    ///
    /// # Errors
    ///
    /// If the server does not run, or if its processes are not suspended in time.
    pub fn pause(&self) -> Result<(), Error> {
        let mut supervisor = self.supervisor();
        if !supervisor.is_running()? {
            return Err(Error::new("the server does not run"));
        }
        supervisor.ask("pause")
    }

    /// Ends a [`pause`](Self::pause). Does nothing if the server is not paused.
    ///
    /// # Errors
    ///
    /// If the supervisor has ended.
    pub fn resume(&self) -> Result<(), Error> {
        self.supervisor().ask("resume")
    }

    /// Sets a parameter of the running server (`ALTER SYSTEM`), for sessions that begin after this call.
    /// Some parameters need a restart to take effect. If the parameter is a list of names, such as
    /// `search_path`, this can set only one name.
    ///
    /// # Errors
    ///
    /// If the server does not run, or does not accept the parameter or the value.
    pub fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let load_time = || self.sql(&["SELECT pg_conf_load_time()"]);
        let before = load_time()?;
        let alter = format!("ALTER SYSTEM SET {name} = {}", literal(value));
        self.sql(&[&alter, "SELECT pg_reload_conf()"])?;
        // New sessions inherit the settings of the postmaster, which reloads them asynchronously.
        wait_until("reloading the settings", || Ok(load_time()? != before))
    }

    fn supervisor(&self) -> MutexGuard<'_, Supervisor> {
        self.supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the server accepts connections, according to its file `postmaster.pid`: the first
    /// line is the process id, the eighth the state.
    fn is_ready(&self, pid: u32) -> bool {
        let file = fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines().map(str::trim);
        lines.next() == Some(&pid.to_string()) && lines.nth(6) == Some("ready")
    }

    /// Runs the commands one by one, as the superuser, and returns their output.
    fn sql(&self, commands: &[&str]) -> Result<String, Error> {
        psql(&self.binaries.dir, &self.url, commands)
    }

    /// Returns whether the last start failed because the port was in use, according to the log.
    fn port_was_taken(&self) -> bool {
        self.supervisor()
            .log()
            .rsplit("starting PostgreSQL")
            .next()
            .is_some_and(|last| last.contains("could not bind"))
    }
}
