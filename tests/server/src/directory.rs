//! The directory of a server or pooler.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{env, iter};

use crate::Error;
use crate::supervisor::Supervisor;
use crate::user::User;

/// Creates a directory that the server's user can access: in the directory for temporary files if that
/// suits a socket, otherwise in `/tmp`.
pub(crate) fn create() -> Result<(Supervisor, Option<User>), Error> {
    let parents = iter::once(env::temp_dir()).filter(|parent| suits_a_socket(parent));
    let mut last = None;
    for parent in parents.chain([PathBuf::from("/tmp")]) {
        match create_in(&parent) {
            Ok(created) => return Ok(created),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new("no directory to create the server's directory in")))
}

fn create_in(parent: &Path) -> Result<(Supervisor, Option<User>), Error> {
    let supervisor = Supervisor::start(parent)?;
    let user = User::instead_of_root(supervisor.dir())?;
    if let Some(user) = &user {
        user.own(supervisor.dir())?;
        if !user.has_access("-w", supervisor.dir()) {
            return Err(Error::new(format!(
                "the user {} has no access to {}",
                user.name,
                parent.display()
            )));
        }
    }
    Ok((supervisor, user))
}

/// Returns whether a socket can be created below this directory, and whether the path needs no quotes in
/// connection strings and settings. The path of a socket has at most about 100 bytes.
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

/// Writes a file that only the server's user can read. PostgreSQL refuses private keys that others can read.
pub(crate) fn write_private(path: &Path, text: &str, user: Option<&User>) -> Result<(), Error> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::io(format!("cannot write {}", path.display())))?;
    user.map_or(Ok(()), |user| user.own(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_need_short_paths_without_special_characters() {
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
