//! The user that the server runs as when root starts it: PostgreSQL refuses to be root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// The user to run as, or `None` if we are not root. `made` is something that we just made: it
    /// belongs to us.
    pub(crate) fn instead_of_root(made: &Path) -> Result<Option<Self>, Error> {
        let ours =
            fs::metadata(made).map_err(Error::io(format!("cannot read {}", made.display())))?;
        if ours.uid() != 0 {
            return Ok(None);
        }
        let users =
            fs::read_to_string("/etc/passwd").map_err(Error::io("cannot read /etc/passwd"))?;
        ["postgres", "nobody"].iter().find_map(|name| Self::named(name, &users)).map(Some).ok_or_else(|| {
            Error::new(
                "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody to \
                 run it as: run this as another user, or set DATABASE_URL to a running server",
            )
        })
    }

    fn named(name: &str, passwd: &str) -> Option<Self> {
        let mut fields = passwd
            .lines()
            .map(|line| line.split(':'))
            .find(|line| line.clone().next() == Some(name))?;
        // Some systems write nobody's as -2.
        let mut number = |at| {
            fields
                .nth(at)?
                .parse::<i64>()
                .ok()
                .map(|number| number as u32)
        };
        let (uid, gid) = (number(2)?, number(0)?);
        (uid != 0).then(|| Self {
            name: name.to_owned(),
            uid,
            gid,
        })
    }

    pub(crate) fn give(&self, folder: &Path) -> Result<(), Error> {
        chown(folder, Some(self.uid), Some(self.gid)).map_err(Error::io(format!(
            "cannot give {} to the user {}",
            folder.display(),
            self.name
        )))
    }

    /// Makes the command run as this user (and without root's further groups).
    pub(crate) fn run<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.uid(self.uid).gid(self.gid)
    }

    /// Whether the user passes `test` (such as `-x`) on the path. Asks the system, which knows of all
    /// the folders above it and of access lists.
    pub(crate) fn may(&self, test: &str, path: &Path) -> bool {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"test "$1" "$2""#, "sh", test])
            .arg(path)
            .current_dir("/");
        self.run(&mut command)
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n\
                          postgresql-old:x:7:7::/:/bin/sh\n\
                          nobody:*:-2:-2:::\n\
                          postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn users_are_read_from_passwd() {
        let user = |name: &str, uid, gid| {
            Some(User {
                name: name.to_owned(),
                uid,
                gid,
            })
        };
        assert_eq!(User::named("postgres", PASSWD), user("postgres", 101, 104));
        assert_eq!(
            User::named("nobody", PASSWD),
            user("nobody", u32::MAX - 1, u32::MAX - 1)
        );
        assert_eq!(User::named("somebody", PASSWD), None);
        assert_eq!(
            User::named("root", PASSWD),
            None,
            "root is what it must not be"
        );
    }
}
