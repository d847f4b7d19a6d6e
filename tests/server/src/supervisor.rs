//! The supervisor: a process that deletes a server when this process ends, however that happens.
//!
//! It is a shell that runs `supervisor.sh`. It reads commands from a pipe. When every copy of the pipe's
//! writing end is closed, it stops the server and deletes the server's directory. A program is started
//! through a shell that also holds the writing end, until that shell has told the supervisor the
//! program's process id. So there is never a program that the supervisor does not know.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Instant;
use std::{fs, io};

use crate::Error;
use crate::command::{spawn, without_pg_variables};
use crate::user::User;
use crate::wait::{LIMIT, PAUSE, too_long};

/// Tells the supervisor the name and process id of the program, then becomes the program. The output of
/// the program goes to the log.
const BECOME: &str = r#"echo "$0 $$"; exec "$@" </dev/null >>log 2>&1"#;

#[derive(Debug)]
pub(crate) struct Supervisor {
    shell: Child,
    /// `None` tells the supervisor to clean up.
    pipe: Option<ChildStdin>,
    answers: Option<BufReader<ChildStdout>>,
    program: Option<Child>,
    dir: PathBuf,
}

impl Supervisor {
    /// Starts a supervisor, which creates a directory in `parent` that only this user can read.
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
        // Ctrl-C in a terminal sends SIGINT to the whole process group.
        let mut shell =
            spawn(command.process_group(0)).map_err(Error::io("cannot start /bin/sh"))?;
        let pipe = shell.stdin.take();
        let answers = shell.stdout.take().map(BufReader::new);
        let mut supervisor = Self {
            shell,
            pipe,
            answers,
            program: None,
            dir: PathBuf::new(),
        };
        let dir_or_error = supervisor.answer()?;
        supervisor.dir = PathBuf::from(&dir_or_error);
        if supervisor.dir.is_absolute() {
            Ok(supervisor)
        } else {
            Err(Error::new(dir_or_error))
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts one of the programs that `supervisor.sh` knows, in the directory. Returns its process id.
    pub(crate) fn run(
        &mut self,
        bin: &Path,
        name: &str,
        args: &[impl AsRef<OsStr>],
        user: Option<&User>,
    ) -> Result<u32, Error> {
        let failed = || format!("cannot start {name}");
        let pipe = match &self.pipe {
            Some(pipe) => pipe.as_fd().try_clone_to_owned(),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        let pipe = pipe.map_err(Error::io(failed()))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", BECOME, name])
            .arg(bin.join(name))
            .args(args)
            .current_dir(&self.dir);
        command
            .stdin(Stdio::null())
            .stdout(pipe)
            .stderr(Stdio::null())
            .process_group(0);
        // The environment of this process must not affect the server.
        command.env("LC_ALL", "C").env("TZ", "UTC");
        without_pg_variables(&mut command);
        if let Some(user) = user {
            user.run_as(&mut command);
        }
        let program = spawn(&mut command).map_err(Error::io(failed()))?;
        let pid = program.id();
        self.program = Some(program);
        Ok(pid)
    }

    pub(crate) fn is_running(&mut self) -> Result<bool, Error> {
        self.ended()?;
        Ok(self.program.is_some())
    }

    /// Returns how the program ended, once.
    fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(program) = &mut self.program else {
            return Ok(None);
        };
        let ended = program
            .try_wait()
            .map_err(Error::io("cannot wait for the program"))?;
        if ended.is_some() {
            self.program = None;
            self.tell("gone")?;
        }
        Ok(ended)
    }

    pub(crate) fn signal(&mut self, name: &str) -> Result<(), Error> {
        self.tell(&format!("signal {name}"))
    }

    /// Sends `pause` or `resume`, for all processes of the server, and waits until that is done.
    pub(crate) fn ask(&mut self, what: &str) -> Result<(), Error> {
        self.tell(what)?;
        match &*self.answer()? {
            "done" => Ok(()),
            _ => Err(self.failed(&format!("cannot {what} the server"))),
        }
    }

    fn answer(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        let read = self
            .answers
            .as_mut()
            .map_or(Ok(0), |answers| answers.read_line(&mut line));
        read.map_err(Error::io("cannot read from the server's supervisor"))?;
        Ok(line.trim_end().to_owned())
    }

    fn tell(&mut self, line: &str) -> Result<(), Error> {
        let sent = self.pipe.as_mut().map_or(Ok(()), |pipe| {
            pipe.write_all(format!("{line}\n").as_bytes())
        });
        sent.map_err(Error::io("the server's supervisor has ended"))
    }

    /// Waits until the program has ended (returns `Some`) or is ready (returns `None`).
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
                return Err(self.failed(&too_long(what)));
            }
            sleep(PAUSE);
        }
    }

    /// Returns an error that contains the end of the log.
    pub(crate) fn failed(&self, what: &str) -> Error {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n  ");
        Error::new(format!("{what}. The end of its log:\n  {end}"))
    }

    pub(crate) fn log(&self) -> String {
        log(&self.dir)
    }
}

/// Returns the output of all programs that were started in the directory.
pub(crate) fn log(dir: &Path) -> String {
    fs::read(dir.join("log"))
        .map(|log| String::from_utf8_lossy(&log).into_owned())
        .unwrap_or_default()
}

impl Drop for Supervisor {
    /// Closes the pipe and waits until the supervisor has cleaned up.
    fn drop(&mut self) {
        self.pipe = None;
        while let Ok(None) = self.shell.try_wait() {
            // The supervisor sees the end of the program only after this process has waited for it.
            let _ = self.ended();
            sleep(PAUSE);
        }
        // If the supervisor was killed, this process has to clean up.
        if let Some(mut program) = self.program.take() {
            let _ = program.kill();
            let _ = program.wait();
        }
        if self.dir.is_absolute() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
