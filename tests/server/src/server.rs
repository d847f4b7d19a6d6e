//! The server.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Error;
use crate::binaries::Binaries;
use crate::place::{self, free_port};
use crate::psql::{literal, psql};
use crate::supervisor::{Supervisor, until};
use crate::user::User;

/// The port in the name of the socket, where there is no other.
const PORT: u16 = 5432;

/// Settings that lose data when the machine goes down, which is no loss here.
const FAST: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// The settings are in a file beside the data, not among the arguments, over which nothing wins.
const SETTINGS: &str = "server.conf";

/// For what is done here: SQL, and copies for standbys.
const OURS: &str = "local all postgres trust\nlocal replication postgres trust\n";

const CERT: &str = "server.crt";
const KEY: &str = "server.key";
const CLIENT_CA: &str = "client-ca.crt";

/// A PostgreSQL server of our own, empty at first. Dropping it stops it and removes all of it.
#[derive(Debug)]
pub struct Server {
    supervisor: Mutex<Supervisor>,
    binaries: Binaries,
    user: Option<User>,
    folder: PathBuf,
    kind: Builder,
    port: u16,
    url: String,
    tcp_url: Option<String>,
}

/// What kind of server to start.
#[derive(Debug, Clone, Default)]
#[must_use = "nothing runs before start"]
pub struct Builder {
    durable: bool,
    tcp: bool,
    settings: Vec<(String, String)>,
    hba: Option<String>,
    tls: Option<Tls>,
}

/// PEM texts.
#[derive(Debug, Clone)]
struct Tls {
    cert: String,
    key: String,
    client_ca: Option<String>,
}

impl Builder {
    /// Whether data are to survive a crash, as in production, which is slower: for benchmarks, and
    /// for tests of crashes. Otherwise `fsync`, `synchronous_commit` and `full_page_writes` are off.
    pub fn durable(mut self, on: bool) -> Self {
        self.durable = on;
        self
    }

    /// Sets a parameter, as in `postgresql.conf`. It wins over what is set here otherwise.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether to listen at a free port of 127.0.0.1 too. There everyone on this machine may come in,
    /// unless [`hba`](Self::hba) says otherwise.
    pub fn tcp(mut self, on: bool) -> Self {
        self.tcp = on;
        self
    }

    /// Who may come in and how: the text of `pg_hba.conf`, instead of everyone without a password. The
    /// superuser `postgres` still comes in through the socket.
    pub fn hba(mut self, text: &str) -> Self {
        self.hba = Some(text.to_owned());
        self
    }

    /// Turns TLS on, with these PEM texts; for [`tcp`](Self::tcp), as there is no TLS on a socket. Whoever
    /// comes without it is let in as well, unless [`hba`](Self::hba) has `hostssl` in place of `host`.
    /// With `client_ca_pem`, certificates of clients are checked where they have one, and the method
    /// `cert` of `pg_hba.conf` is there.
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
    /// When there is no PostgreSQL on this machine, or it cannot start. The error says what to do, or
    /// has the end of the server's log.
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
        let mut server = Server::make(binaries, &self, "initdb", initdb)?;
        let main = server.folder.join("data/postgresql.conf");
        let include = fs::read_to_string(&main)
            .and_then(|text| fs::write(&main, format!("{text}include '../{SETTINGS}'\n")));
        include.map_err(Error::io("cannot change postgresql.conf"))?;
        if let Some(hba) = &self.hba {
            server.write("data/pg_hba.conf", &format!("{OURS}{hba}\n"))?;
        }
        server.launch()?;
        Ok(server)
    }
}

impl Server {
    /// Starts a server for tests: fast rather than safe from crashes of the machine.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// For another kind of server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A folder with the data that the program puts there.
    fn make(
        binaries: Binaries,
        kind: &Builder,
        program: &str,
        args: impl FnOnce(&Path) -> Vec<String>,
    ) -> Result<Self, Error> {
        let (mut supervisor, user) = place::make()?;
        if let Some(user) = &user {
            for program in [program, "postgres"].map(|name| binaries.dir.join(name)) {
                if !user.may("-x", &program) {
                    return Err(Error::new(format!(
                        "the user {} cannot run {}, and as root PostgreSQL does not run: give that user access \
                         to the folder and those above it, or set PG_BIN to one that it has access to",
                        user.name,
                        program.display()
                    )));
                }
            }
        }
        let folder = supervisor.folder().to_owned();
        supervisor.run(
            &binaries.dir,
            program,
            &args(&folder.join("data")),
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
            folder,
            kind: kind.clone(),
            port: PORT,
            url: String::new(),
            tcp_url: None,
        })
    }

    /// The first start, at a port that is free.
    fn launch(&mut self) -> Result<(), Error> {
        let tcp = self.kind.tcp;
        let mut tries = if tcp { 5 } else { 1 };
        loop {
            self.listen(if tcp { free_port()? } else { PORT })?;
            tries -= 1;
            match self.start_again() {
                // Somebody else was faster to take the port.
                Err(_) if tries > 0 && self.port_was_taken() => {}
                started => return started,
            }
        }
    }

    /// The connection string, through the socket and as the superuser `postgres`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The connection string for 127.0.0.1, with [`Builder::tcp`].
    pub fn tcp_url(&self) -> Option<&str> {
        self.tcp_url.as_deref()
    }

    /// The folder of the socket, which also has the data and the file `log`.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of PostgreSQL's programs.
    pub fn bin_dir(&self) -> &Path {
        &self.binaries.dir
    }

    /// What `postgres --version` prints.
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// Shuts down in order, ending all connections, and waits until the server is down. Does nothing
    /// if it is.
    ///
    /// # Errors
    ///
    /// When the server does not stop in time.
    pub fn stop(&self) -> Result<(), Error> {
        self.end("INT")
    }

    /// Shuts down at once, as in a crash, and waits until the server is down. Unless the server is
    /// [durable](Builder::durable), the transactions of the last second may be lost.
    ///
    /// # Errors
    ///
    /// When the server does not stop in time.
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

    /// Starts the server after its end, with the same data at the same socket, and waits until it
    /// accepts connections. Does nothing if it runs.
    ///
    /// # Errors
    ///
    /// When the server does not start; the error has the end of its log.
    pub fn start_again(&self) -> Result<(), Error> {
        let mut supervisor = self.supervisor();
        if supervisor.is_running()? {
            return Ok(());
        }
        let pid = supervisor.run(
            &self.binaries.dir,
            "postgres",
            &["-D".into(), self.folder.join("data")],
            self.user.as_ref(),
        )?;
        match supervisor.wait("starting the server", || self.is_ready(pid))? {
            Some(status) => Err(supervisor.failed(&format!("the server did not start ({status})"))),
            None => Ok(()),
        }
    }

    /// [`stop`](Self::stop) and [`start_again`](Self::start_again).
    ///
    /// # Errors
    ///
    /// When the server does not stop, or not start again.
    pub fn restart(&self) -> Result<(), Error> {
        self.stop()?;
        self.start_again()
    }

    /// Stops all of the server's processes where they are: the system still accepts connections for it,
    /// and nobody gets an answer. [`stop`](Self::stop) and [`kill`](Self::kill) end the pause.
    ///
    /// # Errors
    ///
    /// When the server does not run or does not stop in time.
    pub fn pause(&self) -> Result<(), Error> {
        let mut supervisor = self.supervisor();
        if !supervisor.is_running()? {
            return Err(Error::new("the server does not run"));
        }
        supervisor.ask("pause")
    }

    /// Lets the server go on after a [`pause`](Self::pause). Does nothing if there is none.
    ///
    /// # Errors
    ///
    /// When the shell that watches over the server is gone.
    pub fn resume(&self) -> Result<(), Error> {
        self.supervisor().ask("resume")
    }

    /// Sets a parameter of the running server (`ALTER SYSTEM`) for all that begins after this. What
    /// takes a restart waits for one. Of a list of names, such as `search_path`, it can set one.
    ///
    /// # Errors
    ///
    /// When the server does not run or does not know the parameter or the value.
    pub fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let loaded = || self.sql(&["SELECT pg_conf_load_time()"]);
        let before = loaded()?;
        let alter = format!("ALTER SYSTEM SET {name} = {}", literal(value));
        self.sql(&[&alter, "SELECT pg_reload_conf()"])?;
        // New sessions have the settings of the process that starts them.
        until("reading the settings again", || Ok(loaded()? != before))
    }

    /// Starts a standby of this server and waits until it streams from here: a copy of all that there is,
    /// and of what is to come. It is of the same kind, with a folder of its own, and it may outlive this
    /// server. `name` is its `application_name`, by which this server knows it.
    ///
    /// # Errors
    ///
    /// When this server does not run, there is no `pg_basebackup` beside `postgres`, or the standby
    /// cannot start.
    pub fn standby(&self, name: &str) -> Result<Self, Error> {
        let bin = &self.binaries.dir;
        if !bin.join("pg_basebackup").is_file() {
            return Err(Error::new(format!(
                "there is no pg_basebackup in {}, and a standby needs it: install PostgreSQL's client programs \
                 too (apt-get install postgresql-client), or set PG_BIN to a folder that has it",
                bin.display()
            )));
        }
        if !self.supervisor().is_running()? {
            return Err(Error::new("the server does not run"));
        }
        let name = name.replace('\\', r"\\").replace('\'', r"\'");
        let primary = format!("{} application_name='{name}'", self.url);
        let copy = |data: &Path| {
            let data = data.display().to_string();
            let mut args = vec!["-D", &data, "-d", &primary, "--write-recovery-conf"];
            args.extend(["--wal-method=stream", "--checkpoint=fast", "--no-password"]);
            if !self.kind.durable {
                args.push("--no-sync");
            }
            args.into_iter().map(str::to_owned).collect()
        };
        let mut standby = Self::make(self.binaries.clone(), &self.kind, "pg_basebackup", copy)?;
        // Whom this server waits for is its own affair.
        let own = OpenOptions::new()
            .append(true)
            .open(standby.folder.join("data/postgresql.auto.conf"))
            .and_then(|mut file| file.write_all(b"synchronous_standby_names = ''\n"));
        own.map_err(Error::io("cannot change postgresql.auto.conf"))?;
        standby.launch()?;
        let streams = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        until("streaming to the standby", || {
            Ok(standby.sql(&[streams])? == "1")
        })?;
        Ok(standby)
    }

    /// From now on each commit waits until the [`standby`](Self::standby) of that name has it too, for as
    /// long as that takes. With [`set`](Self::set), an empty `synchronous_standby_names` ends that.
    ///
    /// # Errors
    ///
    /// When the server does not run or no such standby streams from it.
    pub fn wait_for_standby(&self, name: &str) -> Result<(), Error> {
        let listed = format!("\"{}\"", name.replace('"', "\"\""));
        self.set("synchronous_standby_names", &listed)?;
        if ["off", "local"].contains(&&*self.sql(&["SHOW synchronous_commit"])?) {
            self.set("synchronous_commit", "on")?;
        }
        let synchronous = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND application_name = {}",
            literal(name)
        );
        until("the standby's becoming synchronous", || {
            Ok(self.sql(&[&synchronous])? == "1")
        })?;
        // Sessions begin to wait when the checkpointer tells them to. It reads its settings before each
        // checkpoint, and so before the second one at the latest.
        self.sql(&["CHECKPOINT", "CHECKPOINT"])?;
        Ok(())
    }

    /// Makes a [`standby`](Self::standby) a server of its own that can be written to, and waits until it
    /// is.
    ///
    /// # Errors
    ///
    /// When it does not run, is no standby, or takes too long.
    pub fn promote(&self) -> Result<(), Error> {
        match &*self.sql(&["SELECT pg_promote()"])? {
            "t" => Ok(()),
            _ => Err(self.supervisor().failed("the standby was not promoted")),
        }
    }

    fn supervisor(&self) -> MutexGuard<'_, Supervisor> {
        self.supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server writes that it accepts connections: its process id is the first line of the
    /// file and its state the eighth.
    fn is_ready(&self, pid: u32) -> bool {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines().map(str::trim);
        lines.next() == Some(&pid.to_string()) && lines.nth(6) == Some("ready")
    }

    fn listen(&mut self, port: u16) -> Result<(), Error> {
        self.port = port;
        let folder = self.folder.display().to_string();
        let port = port.to_string();
        let address = if self.kind.tcp { "127.0.0.1" } else { "" };
        let mut settings = vec![
            ("unix_socket_directories", &*folder),
            ("listen_addresses", address),
            ("port", &port),
            ("max_connections", "100"),
            ("shared_buffers", "64MB"),
            // How soon a standby comes back to its primary: tests wait for it.
            ("wal_retrieve_retry_interval", "100ms"),
        ];
        if !self.kind.durable {
            settings.extend(FAST.map(|name| (name, "off")));
        }
        let pem_of = |name| self.folder.join(name).display().to_string();
        let [cert, key, client_ca] = [CERT, KEY, CLIENT_CA].map(pem_of);
        if let Some(tls) = &self.kind.tls {
            self.write(CERT, &tls.cert)?;
            self.write(KEY, &tls.key)?;
            settings.extend([
                ("ssl", "on"),
                ("ssl_cert_file", &cert),
                ("ssl_key_file", &key),
            ]);
            if let Some(pem) = &tls.client_ca {
                self.write(CLIENT_CA, pem)?;
                settings.push(("ssl_ca_file", &client_ca));
            }
        }
        let told = self.kind.settings.iter();
        settings.extend(told.map(|(name, value)| (&**name, &**value)));
        // The last one of a name wins.
        let lines = settings
            .iter()
            .map(|(name, value)| format!("{name} = {}\n", quoted(value)));
        self.write(SETTINGS, &lines.collect::<String>())?;

        let url = |host: &str| format!("host={host} port={port} user=postgres dbname=postgres");
        self.url = url(&folder);
        self.tcp_url = self.kind.tcp.then(|| url("127.0.0.1"));
        Ok(())
    }

    /// Writes a file in the folder that is the server's own.
    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        place::write(&self.folder.join(name), text, self.user.as_ref())
    }

    /// Runs the commands one by one, as the superuser, and returns what they print.
    fn sql(&self, commands: &[&str]) -> Result<String, Error> {
        psql(&self.binaries.dir, &self.url, commands)
    }

    /// What the log says of the last start.
    fn port_was_taken(&self) -> bool {
        self.supervisor()
            .log()
            .rsplit("starting PostgreSQL")
            .next()
            .is_some_and(|last| last.contains("could not bind"))
    }
}

/// As a value in `postgresql.conf`.
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
