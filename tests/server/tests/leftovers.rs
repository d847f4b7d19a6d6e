//! Nothing is left behind, however the process ends that has started a server.
//!
//! This program runs itself again as that process: the test `child` does so with `CHILD` set. Each
//! child has a folder of its own for temporary files, which must be empty at the end.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs, io, process};

use throwaway_postgres::{Pooler, Server};

const SIGINT: i32 = 2;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// The process that starts a server and, once its input ends, ends as `CHILD` says.
#[test]
fn child() {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static MORE: OnceLock<(Server, Option<Pooler>)> = OnceLock::new();
    let Ok(end) = env::var("CHILD") else { return };
    let server = SERVER.get_or_init(|| {
        // In the arguments of all the server's processes.
        let temp = env::var("TMPDIR").expect("a folder");
        let server = Server::builder().setting("cluster_name", &temp);
        server.start().expect("a server")
    });
    let pid =
        fs::read_to_string(server.socket_dir().join("data/postmaster.pid")).expect("its file");
    let mut folders = vec![server.socket_dir()];
    let with = env::var("CHILD_WITH").unwrap_or_default();
    if !with.is_empty() {
        let (standby, pooler) = MORE.get_or_init(|| {
            let standby = server.standby("second").expect("a standby");
            (standby, Pooler::start(server).expect("no failure"))
        });
        folders.push(standby.socket_dir());
        folders.extend(pooler.iter().map(Pooler::socket_dir));
        if with == "paused" {
            server.pause().expect("a pause");
            standby.pause().expect("a pause");
        }
    }
    let folders = folders.iter().map(|folder| folder.display().to_string());
    println!(
        "\nready {} {}",
        pid.lines().next().expect("a pid"),
        folders.collect::<Vec<_>>().join(" ")
    );
    // Until the other side is done with looking.
    io::stdin()
        .read_line(&mut String::new())
        .expect("the end of the input");
    match end.as_str() {
        "return" => {}
        "exit" => process::exit(0),
        "panic" => panic!("as told"),
        "abort" => process::abort(),
        other => panic!("no such end: {other}"),
    }
}

#[test]
fn after_the_end_of_the_tests() {
    let mut run = Run::start("return");
    run.ready();
    assert!(run.end().success());
    run.assert_nothing_left();
}

#[test]
fn after_exit() {
    let mut run = Run::start("exit");
    run.ready();
    assert_eq!(run.end().code(), Some(0));
    run.assert_nothing_left();
}

#[test]
fn after_a_panic() {
    let mut run = Run::start("panic");
    run.ready();
    assert_eq!(run.end().code(), Some(101));
    run.assert_nothing_left();
}

#[test]
fn after_an_abort() {
    let mut run = Run::start("abort");
    run.ready();
    assert_eq!(run.child.wait().expect("an end").signal(), Some(SIGABRT));
    run.assert_nothing_left();
}

#[test]
fn after_a_kill() {
    let mut run = Run::start("return");
    run.ready();
    run.child.kill().expect("a kill");
    assert_eq!(run.child.wait().expect("an end").signal(), Some(SIGKILL));
    run.assert_nothing_left();
}

#[test]
fn after_a_kill_with_a_standby_and_a_pooler() {
    for with in ["running", "paused"] {
        let mut run = Run::start_with("return", with);
        run.ready();
        run.child.kill().expect("a kill");
        assert_eq!(run.child.wait().expect("an end").signal(), Some(SIGKILL));
        run.assert_nothing_left();
    }
}

/// At moments all through the copy for the standby, its start and the pooler's.
#[test]
fn after_a_kill_during_the_start_of_a_standby_and_a_pooler() {
    let moments = ["data/backup_label", "data/standby.signal", "pgbouncer.ini"];
    let has_pgbouncer = Command::new("/bin/sh")
        .args([
            "-c",
            "PATH=$PATH:/usr/sbin:/usr/local/sbin; command -v pgbouncer",
        ])
        .stdout(Stdio::null())
        .status()
        .expect("a shell")
        .success();
    for moment in &moments[..if has_pgbouncer { 3 } else { 2 }] {
        let mut run = Run::start_with("return", "running");
        until(moment, || {
            run.made().iter().any(|folder| folder.join(moment).exists())
        });
        run.child.kill().expect("a kill");
        run.child.wait().expect("an end");
        run.assert_nothing_left();
    }
}

/// Ctrl-C in a terminal sends the signal to the whole process group.
#[test]
fn after_an_interrupt() {
    let Some(mut run) = Run::start_interruptible() else {
        eprintln!("skipped: SIGINT is ignored here, and `env` cannot restore its default action");
        return;
    };
    run.ready();
    let group = run.child.id();
    for pid in run.processes() {
        assert_ne!(
            group_of(&pid),
            group.to_string(),
            "process {pid} gets the terminal's signals"
        );
    }
    shell(&format!("kill -s INT -- -{group}"));
    assert_eq!(run.child.wait().expect("an end").signal(), Some(SIGINT));
    run.assert_nothing_left();
}

/// The signals that end a supervisor are not for it, and it goes on to do its work.
#[test]
fn after_signals_to_all() {
    let mut run = Run::start("return");
    run.ready();
    let supervisors = processes_with(&format!("throwaway-postgres {}", run.temp.0.display()));
    assert_eq!(supervisors.len(), 1);
    for signal in ["INT", "TERM", "HUP"] {
        shell(&format!("kill -s {signal} {}", supervisors.join(" ")));
    }
    run.child.kill().expect("a kill");
    run.child.wait().expect("an end");
    run.assert_nothing_left();
}

/// At moments all through `initdb` and the start of the server.
#[test]
fn after_a_kill_during_the_start() {
    for moment in [
        "data",
        "data/PG_VERSION",
        "data/postgresql.conf",
        "data/base/1/PG_VERSION",
        "data/base/5",
        "data/postmaster.pid",
    ] {
        let mut run = Run::start("return");
        until(moment, || {
            run.made().iter().any(|folder| folder.join(moment).exists())
        });
        run.child.kill().expect("a kill");
        run.child.wait().expect("an end");
        run.assert_nothing_left();
    }
}

/// Who reads the output of the tests comes to its end when they end.
#[test]
fn nobody_holds_the_output() {
    if !Path::new("/proc/self/fd").exists() {
        return;
    }
    let mut run = Run::start("return");
    run.ready();
    let open = |pid: &str| -> Vec<PathBuf> {
        // None if it has ended meanwhile, a short process of the server.
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
        files
            .flatten()
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
            .collect()
    };
    let output = fs::read_link(format!("/proc/{}/fd/1", run.child.id())).expect("a pipe");
    let processes = run.processes();
    assert!(processes.len() >= 2, "the supervisor and the server");
    for pid in processes {
        assert!(!open(&pid).contains(&output), "{pid} holds the output");
    }
}

#[test]
fn after_a_drop() {
    let server = Server::start().expect("a server");
    let folder = server.socket_dir().to_owned();
    assert_eq!(
        fs::metadata(&folder)
            .expect("its folder")
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
    drop(server);
    assert!(!folder.exists());
    assert!(processes_with(&folder.to_string_lossy()).is_empty());
}

#[test]
fn after_a_failed_start() {
    let temp = Temp::new();
    let output = child_command("return", &temp.0)
        .env("PG_BIN", "/nowhere")
        .stderr(Stdio::piped())
        .output()
        .expect("a child");
    assert_eq!(output.status.code(), Some(101));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PG_BIN is /nowhere"));
    assert!(fs::read_dir(&temp.0).expect("the folder").next().is_none());
}

/// A folder for temporary files, short for the sake of sockets and open to the server's user.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Self {
        let made = Command::new("mktemp")
            .args(["-d", "/tmp/left.XXXXXX"])
            .output()
            .expect("mktemp");
        let folder = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its mode");
        Self(folder)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Run {
    child: Child,
    temp: Temp,
    shared_memory: Vec<String>,
    segments_before: Vec<String>,
}

fn child_command(end: &str, temp: &Path) -> Command {
    child_command_of(Command::new(this_program()), end, temp)
}

/// The same for a command that starts this program with the arguments that are added to it.
fn child_command_of(mut command: Command, end: &str, temp: &Path) -> Command {
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command
        .env("CHILD", end)
        .env("TMPDIR", temp)
        .process_group(0);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn this_program() -> PathBuf {
    env::current_exe().expect("this program")
}

fn is_ended_by_sigint(mut shell: Command) -> bool {
    let ended = shell
        .args(["-c", "kill -s INT $$"])
        .stderr(Stdio::null())
        .status();
    ended.is_ok_and(|status| status.signal() == Some(SIGINT))
}

impl Run {
    fn start(end: &str) -> Self {
        Self::start_with(end, "")
    }

    fn start_with(end: &str, with: &str) -> Self {
        let temp = Temp::new();
        let mut command = child_command(end, &temp.0);
        command.env("CHILD_WITH", with);
        Self::spawn(&mut command, temp)
    }

    /// Starts a child that SIGINT ends, even if this process ignores SIGINT. Commands that a script starts
    /// with `&` ignore it, and children inherit that. Returns `None` if `env` cannot restore the default.
    fn start_interruptible() -> Option<Self> {
        let direct = |program: &Path| Command::new(program);
        let restored = |program: &Path| {
            let mut command = Command::new("env");
            command.arg("--default-signal=INT").arg(program);
            command
        };
        let ways: [fn(&Path) -> Command; 2] = [direct, restored];
        let way = ways
            .into_iter()
            .find(|way| is_ended_by_sigint(way(Path::new("/bin/sh"))))?;
        let temp = Temp::new();
        let mut command = child_command_of(way(&this_program()), "return", &temp.0);
        Some(Self::spawn(&mut command, temp))
    }

    fn spawn(command: &mut Command, temp: Temp) -> Self {
        let child = command.spawn().expect("a child");
        Self {
            child,
            temp,
            shared_memory: Vec::new(),
            segments_before: orphaned_segments(),
        }
    }

    /// Waits until the server is there.
    fn ready(&mut self) {
        let lines = BufReader::new(self.child.stdout.as_mut().expect("a pipe")).lines();
        let line = lines
            .map_while(Result::ok)
            .find(|line| line.starts_with("ready "))
            .expect("a server");
        let (pid, folders) = line["ready ".len()..].split_once(' ').expect("two words");
        let folders: BTreeSet<_> = folders.split(' ').map(PathBuf::from).collect();
        assert_eq!(self.made().into_iter().collect::<BTreeSet<_>>(), folders);
        assert!(self.processes().iter().any(|process| process == pid));
        self.shared_memory = shared_memory_of(pid);
    }

    /// Lets the child end in its own way.
    fn end(&mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().expect("an end")
    }

    /// The folders that the child has made.
    fn made(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.temp.0)
            .expect("the folder")
            .flatten()
            .map(|entry| entry.path())
            .collect()
    }

    /// The servers, what makes their data, the supervisors: their arguments have the folder.
    fn processes(&self) -> Vec<String> {
        processes_with(&self.temp.0.to_string_lossy())
    }

    fn assert_nothing_left(&self) {
        until("the end of all processes", || self.processes().is_empty());
        until("the end of the folder", || self.made().is_empty());
        for file in &self.shared_memory {
            assert!(!Path::new(file).exists(), "{file} is left");
        }
        until("the end of shared memory", || {
            orphaned_segments()
                .iter()
                .all(|id| self.segments_before.contains(id))
        });
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files of shared memory that a process uses, where there are such files.
fn shared_memory_of(pid: &str) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let files = maps.lines().filter_map(|line| line.split_once("/dev/shm/"));
    files.map(|(_, name)| format!("/dev/shm/{name}")).collect()
}

/// Shared memory of the older kind that nobody uses, made by processes that have ended.
fn orphaned_segments() -> Vec<String> {
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let segments = segments
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let orphaned =
        segments.filter(|fields| fields[6] == "0" && !Path::new("/proc").join(fields[4]).exists());
    orphaned.map(|fields| fields[1].to_owned()).collect()
}

/// The processes that run with the text in their arguments.
fn processes_with(text: &str) -> Vec<String> {
    let of_all = if Path::new("/proc/self/cmdline").exists() {
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = all.filter_map(|entry| entry.file_name().into_string().ok());
        pids.filter_map(|pid| Some((fs::read(format!("/proc/{pid}/cmdline")).ok()?, pid)))
            .map(|(args, pid)| {
                format!(
                    "{pid} {}",
                    String::from_utf8_lossy(&args).replace('\0', " ")
                )
            })
            .collect()
    } else {
        ps(&["-A", "-ww", "-o", "pid=,args="])
    };
    let with = of_all.iter().filter(|line| line.contains(text));
    with.filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

fn group_of(pid: &str) -> String {
    if !Path::new("/proc/self/stat").exists() {
        return ps(&["-o", "pgid=", "-p", pid]).concat().trim().to_owned();
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    fields.split(' ').nth(2).unwrap_or_default().to_owned()
}

fn ps(args: &[&str]) -> Vec<String> {
    let output = Command::new("ps")
        .args(args)
        .output()
        .expect("ps, as there is no /proc");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn shell(script: &str) {
    assert!(
        Command::new("/bin/sh")
            .args(["-c", script])
            .status()
            .expect("a shell")
            .success(),
        "{script}"
    );
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "waited too long for {what}"
        );
        sleep(Duration::from_millis(5));
    }
}
