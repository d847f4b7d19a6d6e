//! Folders and ports for servers.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{env, iter};

use crate::Error;
use crate::supervisor::Supervisor;
use crate::user::User;

/// Makes a folder where the server's user can reach it.
pub(crate) fn make() -> Result<(Supervisor, Option<User>), Error> {
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

/// Writes a file that is the server's own: keys must not be readable for others.
pub(crate) fn write(path: &Path, text: &str, user: Option<&User>) -> Result<(), Error> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::io(format!("cannot write {}", path.display())))?;
    user.map_or(Ok(()), |user| user.give(path))
}

pub(crate) fn free_port() -> Result<u16, Error> {
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
