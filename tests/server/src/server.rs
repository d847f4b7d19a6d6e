//! The server.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, iter};

use crate::Error;
use crate::binaries::Binaries;
use crate::supervisor::Supervisor;
use crate::user::User;

/// The port in the name of the socket, where there is no other.
const PORT: u16 = 5432;

/// Settings that lose data when the machine goes down, which is no loss here.
const FAST: [&str; 3] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
];

/// A PostgreSQL server of our own, empty at first. Dropping it stops it and removes all of it.
#[derive(Debug)]
pub struct Server {
    supervisor: Mutex<Supervisor>,
    binaries: Binaries,
    user: Option<User>,
    folder: PathBuf,
    args: Vec<String>,
    url: String,
    tcp_url: Option<String>,
}

/// What kind of server to start.
#[derive(Debug, Clone, Default)]
#[must_use = "nothing runs before start"]
pub struct Builder {
    durable: bool,
    tcp: bool,
    settings: Vec<String>,
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
        self.settings.push(format!("{name}={value}"));
        self
    }

    /// Whether to listen at a free port of 127.0.0.1 too. There everyone on this machine may come in.
    pub fn tcp(mut self, on: bool) -> Self {
        self.tcp = on;
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
        let (mut supervisor, user) = folder()?;
        if let Some(user) = &user {
            for program in ["initdb", "postgres"].map(|name| binaries.dir.join(name)) {
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

        let data = supervisor.folder().join("data").display().to_string();
        let mut args = vec![
            "-D",
            &data,
            "-U",
            "postgres",
            "--auth=trust",
            "--no-locale",
            "--encoding=UTF8",
        ];
        if !self.durable {
            args.push("--no-sync");
        }
        supervisor.run(&binaries.dir, "initdb", &args, user.as_ref())?;
        match supervisor.wait("initdb", || false)? {
            Some(status) if !status.success() => {
                return Err(supervisor.failed(&format!("initdb failed ({status})")));
            }
            _ => {}
        }

        let folder = supervisor.folder().to_owned();
        let supervisor = Mutex::new(supervisor);
        let mut server = Server {
            supervisor,
            binaries,
            user,
            folder,
            args: Vec::new(),
            url: String::new(),
            tcp_url: None,
        };
        let mut tries = if self.tcp { 5 } else { 1 };
        loop {
            server.listen(if self.tcp { free_port()? } else { PORT }, &self);
            tries -= 1;
            match server.start_again() {
                // Somebody else was faster to take the port.
                Err(_) if tries > 0 && server.port_was_taken() => {}
                started => return started.map(|()| server),
            }
        }
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
            &self.args,
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

    fn listen(&mut self, port: u16, builder: &Builder) {
        let folder = self.folder.display();
        let settings = [
            format!("unix_socket_directories={folder}"),
            format!(
                "listen_addresses={}",
                if builder.tcp { "127.0.0.1" } else { "" }
            ),
            format!("port={port}"),
            "max_connections=100".to_owned(),
            "shared_buffers=64MB".to_owned(),
        ];
        let fast = FAST
            .iter()
            .filter(|_| !builder.durable)
            .map(|&setting| setting.to_owned());
        let all = settings
            .into_iter()
            .chain(fast)
            .chain(builder.settings.iter().cloned());
        self.args = ["-D".to_owned(), format!("{folder}/data")].into();
        self.args
            .extend(all.flat_map(|setting| ["-c".to_owned(), setting]));
        let url = |host: &str| format!("host={host} port={port} user=postgres dbname=postgres");
        self.url = url(&folder.to_string());
        self.tcp_url = builder.tcp.then(|| url("127.0.0.1"));
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

/// Makes the server's folder where its user can reach it.
fn folder() -> Result<(Supervisor, Option<User>), Error> {
    let parents = iter::once(env::temp_dir()).filter(|parent| suits_a_socket(parent));
    let mut last = None;
    for parent in parents.chain([PathBuf::from("/tmp")]) {
        let made = Supervisor::start(&parent).and_then(|supervisor| {
            let user = User::instead_of_root(supervisor.folder())?;
            if let Some(user) = &user {
                user.give(supervisor.folder())?;
                if !user.may("-w", supervisor.folder()) {
                    let folder = parent.display();
                    return Err(Error::new(format!(
                        "the user {} has no access to {folder}",
                        user.name
                    )));
                }
            }
            Ok((supervisor, user))
        });
        match made {
            Ok(made) => return Ok(made),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new("no folder to make the server's folder in")))
}

/// The path of a socket has at most about 100 bytes; and one with other characters than these would
/// need quotes, here and there in different ways.
fn suits_a_socket(parent: &Path) -> bool {
    let longest = 100 - "/pg.XXXXXX/.s.PGSQL.65535".len();
    parent.to_str().is_some_and(|path| {
        path.starts_with('/')
            && path.len() <= longest
            && path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte))
    })
}

fn free_port() -> Result<u16, Error> {
    let listener =
        TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("cannot listen on 127.0.0.1"))?;
    Ok(listener
        .local_addr()
        .map_err(Error::io("cannot read the address of a socket"))?
        .port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_need_short_and_plain_paths() {
        for good in ["/tmp", "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/"] {
            assert!(suits_a_socket(Path::new(good)), "{good}");
        }
        for bad in [
            "tmp",
            "/tmp/a b",
            "/tmp/it's",
            "/tmp/a,b",
            "/tmp/ä",
            &format!("/{}", "a".repeat(90)),
        ] {
            assert!(!suits_a_socket(Path::new(bad)), "{bad}");
        }
    }
}
