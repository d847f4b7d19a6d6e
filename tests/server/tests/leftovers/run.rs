//! A child that runs, seen from outside.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::SIGINT;
use super::child::{TempDir, WITH, With, child_command, child_command_through, this_program};
use super::processes::{orphaned_segments, processes_with, shared_memory_of};
use super::support::wait_until;

/// A child and the directory in which it creates its temporary files.
pub(crate) struct Run {
    pub(crate) child: Child,
    pub(crate) temp: TempDir,
    shared_memory: Vec<String>,
    segments_before: Vec<String>,
}

impl Run {
    pub(crate) fn start(end: &str) -> Self {
        Self::start_with(end, With::Server)
    }

    pub(crate) fn start_with(end: &str, with: With) -> Self {
        let temp = TempDir::new();
        let mut command = child_command(end, &temp.0);
        command.env(WITH, with.name());
        Self::spawn(&mut command, temp)
    }

    /// Starts a child that SIGINT ends, even if this process ignores SIGINT. Commands that a script starts
    /// with `&` ignore it, and children inherit that. Returns `None` if `env` cannot restore the default.
    pub(crate) fn start_interruptible() -> Option<Self> {
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
        let temp = TempDir::new();
        let mut command = child_command_through(way(&this_program()), "return", &temp.0);
        Some(Self::spawn(&mut command, temp))
    }

    fn spawn(command: &mut Command, temp: TempDir) -> Self {
        let child = command.spawn().expect("a child");
        Self {
            child,
            temp,
            shared_memory: Vec::new(),
            segments_before: orphaned_segments(),
        }
    }

    /// Waits until the child has started everything.
    pub(crate) fn wait_for_ready(&mut self) {
        let lines = BufReader::new(self.child.stdout.as_mut().expect("a pipe")).lines();
        let line = lines
            .map_while(Result::ok)
            .find(|line| line.starts_with("ready "))
            .expect("a server");
        let (pid, dirs) = line["ready ".len()..].split_once(' ').expect("two words");
        let dirs: BTreeSet<_> = dirs.split(' ').map(PathBuf::from).collect();
        assert_eq!(
            self.directories().into_iter().collect::<BTreeSet<_>>(),
            dirs
        );
        assert!(self.processes().iter().any(|process| process == pid));
        self.shared_memory = shared_memory_of(pid);
    }

    /// Closes the input of the child, which makes it end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().expect("an end")
    }

    /// Kills the child with SIGKILL.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("a kill");
        self.child.wait().expect("an end")
    }

    /// Returns the directories that the child has created.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.temp.0)
            .expect("the directory")
            .flatten()
            .map(|entry| entry.path())
            .collect()
    }

    /// Returns all processes of the child's servers and supervisors. Their arguments contain the directory.
    pub(crate) fn processes(&self) -> Vec<String> {
        processes_with(&self.temp.0.to_string_lossy())
    }

    pub(crate) fn assert_nothing_left(&self) {
        wait_until("the end of all processes", || self.processes().is_empty());
        wait_until("the end of all directories", || {
            self.directories().is_empty()
        });
        for file in &self.shared_memory {
            assert!(!Path::new(file).exists(), "{file} is left");
        }
        wait_until("the end of shared memory", || {
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

fn is_ended_by_sigint(mut shell: Command) -> bool {
    let ended = shell
        .args(["-c", "kill -s INT $$"])
        .stderr(Stdio::null())
        .status();
    ended.is_ok_and(|status| status.signal() == Some(SIGINT))
}
