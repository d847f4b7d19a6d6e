//! Connecting, and servers as they are in production.

mod failover;
mod options;
mod passwords;
mod pooler;
mod silence;
mod sockets;
#[cfg(feature = "tls")]
mod tls;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
};

use session_postgres::{ConnectOptions, Error};

use crate::support::{PATIENCE, database::Schema, line::Line};

/// How to reach a schema through a line.
pub(crate) fn through(line: &Line, schema: &Schema) -> ConnectOptions {
    let config = schema.config();
    ConnectOptions::new()
        .host("127.0.0.1")
        .port(line.port())
        .user(config.get_user().unwrap())
        .dbname(config.get_dbname().unwrap())
        .options(config.get_options().unwrap())
}

/// What `work` comes to, if that is before the patience is at an end.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    waiting.recv_timeout(PATIENCE).expect("it hangs")
}

fn is_about_time(error: &Error) -> bool {
    matches!(error, Error::TimedOut { .. } | Error::Disconnected(_))
}

/// A folder of a test's own.
struct Files(PathBuf);

impl Files {
    fn new() -> Files {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("sp-files-{}-{count}", process::id()));
        fs::create_dir(&folder).unwrap();
        Files(folder)
    }

    /// A file that only its owner can read.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    fn open_to_all(&self, file: &Path) {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
