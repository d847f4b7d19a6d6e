//! The process that starts a server: this test program, which runs itself with only the test `child`.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs, io};

use throwaway_postgres::{Pooler, Server};

/// The environment variable that says how the child ends.
const END: &str = "CHILD";

/// The environment variable that says what the child starts.
pub(crate) const WITH: &str = "CHILD_WITH";

/// The programs that a child starts.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum With {
    Server,
    StandbyAndPooler,
    /// With a pooler too, and with both servers paused.
    PausedStandby,
}

impl With {
    pub(crate) fn name(self) -> &'static str {
        match self {
            With::Server => "server",
            With::StandbyAndPooler => "standby and pooler",
            With::PausedStandby => "paused standby",
        }
    }

    fn named(name: &str) -> With {
        let all = [With::Server, With::StandbyAndPooler, With::PausedStandby];
        let found = all.into_iter().find(|with| with.name() == name);
        found.unwrap_or(With::Server)
    }
}

/// Starts a server, prints its process id and all directories, and ends when its input does.
#[test]
fn child() {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static MORE: OnceLock<(Server, Option<Pooler>)> = OnceLock::new();
    let Ok(end) = env::var(END) else { return };
    let server = SERVER.get_or_init(|| {
        // All processes of the server have this name in their arguments.
        let temp = env::var("TMPDIR").expect("a directory");
        let server = Server::builder().setting("cluster_name", &temp);
        server.start().expect("a server")
    });
    let pid =
        fs::read_to_string(server.socket_dir().join("data/postmaster.pid")).expect("its file");
    let mut dirs = vec![server.socket_dir()];
    let with = With::named(&env::var(WITH).unwrap_or_default());
    if with != With::Server {
        let (standby, pooler) = MORE.get_or_init(|| {
            let standby = server.standby("second").expect("a standby");
            (standby, Pooler::start(server).expect("no failure"))
        });
        dirs.push(standby.socket_dir());
        dirs.extend(pooler.iter().map(Pooler::socket_dir));
        if with == With::PausedStandby {
            server.pause().expect("a pause");
            standby.pause().expect("a pause");
        }
    }
    let dirs = dirs.iter().map(|dir| dir.display().to_string());
    println!(
        "\nready {} {}",
        pid.lines().next().expect("a pid"),
        dirs.collect::<Vec<_>>().join(" ")
    );
    io::stdin()
        .read_line(&mut String::new())
        .expect("the end of the input");
    match end.as_str() {
        "return" => {}
        "exit" => process::exit(0),
        "panic" => panic!("on purpose"),
        "abort" => process::abort(),
        other => panic!("unknown end: {other}"),
    }
}

/// A temporary directory that the server's user can access. Its path is short, because it contains sockets.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let created = Command::new("mktemp")
            .args(["-d", "/tmp/left.XXXXXX"])
            .output()
            .expect("mktemp");
        let dir = PathBuf::from(String::from_utf8_lossy(&created.stdout).trim());
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("its mode");
        Self(dir)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn this_program() -> PathBuf {
    env::current_exe().expect("this program")
}

/// Returns the command that starts the child.
pub(crate) fn child_command(end: &str, temp: &Path) -> Command {
    child_command_through(Command::new(this_program()), end, temp)
}

/// Adds the child's arguments and environment to a command that starts this program.
pub(crate) fn child_command_through(mut command: Command, end: &str, temp: &Path) -> Command {
    command.args(["--exact", "child::child", "--nocapture", "--test-threads=1"]);
    command.env(END, end).env("TMPDIR", temp).process_group(0);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}
