//! The folder of a server and the program that works in it; both go away with the [`Supervisor`], and
//! with the whole process, whatever ends it.
//!
//! The work is done by `supervisor.sh`, at the other end of a pipe: when nobody holds our end any
//! more, it tidies up. Programs start through a shell that holds our end too, until it has told the
//! supervisor its process id: at no time is there something that the supervisor does not know of.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use crate::Error;
use crate::user::User;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Says which program it is going to be, and becomes it. Its output goes to the log.
const BECOME: &str = r#"echo "$0 $$"; exec "$@" </dev/null >>log 2>&1"#;

#[derive(Debug)]
pub(crate) struct Supervisor {
    shell: Child,
    /// `None` once it must tidy up.
    pipe: Option<ChildStdin>,
    answers: Option<BufReader<ChildStdout>>,
    program: Option<Child>,
    folder: PathBuf,
}

impl Supervisor {
    /// Makes a folder in `parent`, of our own and readable for nobody else.
    pub(crate) fn start(parent: &Path) -> Result<Self, Error> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", include_str!("supervisor.sh"), "throwaway-postgres"])
            .arg(parent);
        command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // A group of its own: Ctrl-C in a terminal is not for it.
        let mut shell =
            spawn(command.process_group(0)).map_err(Error::io("cannot start /bin/sh"))?;
        let pipe = shell.stdin.take();
        let answers = shell.stdout.take().map(BufReader::new);
        let mut supervisor = Self {
            shell,
            pipe,
            answers,
            program: None,
            folder: PathBuf::new(),
        };
        let said = supervisor.answer()?;
        supervisor.folder = PathBuf::from(&said);
        if supervisor.folder.is_absolute() {
            Ok(supervisor)
        } else {
            Err(Error::new(said))
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a program in the folder, one of those that `supervisor.sh` knows; its process id.
    pub(crate) fn run(
        &mut self,
        bin: &Path,
        name: &str,
        args: &[impl AsRef<OsStr>],
        user: Option<&User>,
    ) -> Result<u32, Error> {
        let doing = || format!("cannot start {name}");
        let pipe = match &self.pipe {
            Some(pipe) => pipe.as_fd().try_clone_to_owned(),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        let pipe = pipe.map_err(Error::io(doing()))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", BECOME, name])
            .arg(bin.join(name))
            .args(args)
            .current_dir(&self.folder);
        command
            .stdin(Stdio::null())
            .stdout(pipe)
            .stderr(Stdio::null())
            .process_group(0);
        // The same server, whatever the settings around us are.
        command.env("LC_ALL", "C").env("TZ", "UTC");
        without_settings(&mut command);
        if let Some(user) = user {
            user.run(&mut command);
        }
        let program = spawn(&mut command).map_err(Error::io(doing()))?;
        let pid = program.id();
        self.program = Some(program);
        Ok(pid)
    }

    pub(crate) fn is_running(&mut self) -> Result<bool, Error> {
        self.ended()?;
        Ok(self.program.is_some())
    }

    /// How it ended, the first time that is asked after its end.
    fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(program) = &mut self.program else {
            return Ok(None);
        };
        let ended = program
            .try_wait()
            .map_err(Error::io("cannot wait for what runs"))?;
        if ended.is_some() {
            self.program = None;
            self.tell("gone")?;
        }
        Ok(ended)
    }

    pub(crate) fn signal(&mut self, name: &str) -> Result<(), Error> {
        self.tell(&format!("signal {name}"))
    }

    /// `pause` or `resume`, of the server and all its processes. It is done when this returns.
    pub(crate) fn ask(&mut self, what: &str) -> Result<(), Error> {
        self.tell(what)?;
        match &*self.answer()? {
            "done" => Ok(()),
            _ => Err(self.failed(&format!("cannot {what} the server"))),
        }
    }

    fn answer(&mut self) -> Result<String, Error> {
        let mut said = String::new();
        let read = self
            .answers
            .as_mut()
            .map_or(Ok(0), |answers| answers.read_line(&mut said));
        read.map_err(Error::io(
            "cannot read from the shell that watches over the server",
        ))?;
        Ok(said.trim_end().to_owned())
    }

    fn tell(&mut self, line: &str) -> Result<(), Error> {
        let told = self.pipe.as_mut().map_or(Ok(()), |pipe| {
            pipe.write_all(format!("{line}\n").as_bytes())
        });
        told.map_err(Error::io("the shell that watches over the server is gone"))
    }

    /// Waits until what runs has ended (`Some`) or `ready` says so (`None`).
    pub(crate) fn wait(
        &mut self,
        what: &str,
        ready: impl Fn() -> bool,
    ) -> Result<Option<ExitStatus>, Error> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if ready() {
                return Ok(None);
            }
            if start.elapsed() > LIMIT {
                return Err(self.failed(&too_long(what).to_string()));
            }
            sleep(PAUSE);
        }
    }

    /// The error with the end of the log.
    pub(crate) fn failed(&self, what: &str) -> Error {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n  ");
        Error::new(format!("{what}. The end of its log:\n  {end}"))
    }

    pub(crate) fn log(&self) -> String {
        log(&self.folder)
    }
}

/// What the programs in that folder have said.
pub(crate) fn log(folder: &Path) -> String {
    fs::read(folder.join("log"))
        .map(|log| String::from_utf8_lossy(&log).into_owned())
        .unwrap_or_default()
}

impl Drop for Supervisor {
    /// Waits for the supervisor, which tidies up once the pipe is closed.
    fn drop(&mut self) {
        self.pipe = None;
        while let Ok(None) = self.shell.try_wait() {
            // Waited for, so that it is seen to have ended.
            let _ = self.ended();
            sleep(PAUSE);
        }
        // Only if somebody has killed the supervisor is there something left to do.
        if let Some(mut program) = self.program.take() {
            let _ = program.kill();
            let _ = program.wait();
        }
        if self.folder.is_absolute() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// One at a time: not every system can make a pipe and mark it as not to be inherited in one step.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Whatever the settings around us are, for the server and for clients.
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
}

/// Waits until the condition holds.
pub(crate) fn until(
    what: &str,
    mut condition: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > LIMIT {
            return Err(too_long(what));
        }
        sleep(PAUSE);
    }
    Ok(())
}

pub(crate) fn too_long(what: &str) -> Error {
    Error::new(format!("{what} took more than {} seconds", LIMIT.as_secs()))
}
