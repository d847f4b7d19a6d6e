//! The user that runs the server if this process runs as root. PostgreSQL refuses to run as root.

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
    /// Returns the user to run the server, or `None` if this process does not run as root. The owner of
    /// `created`, which this process has just created, is the user of this process.
    pub(crate) fn instead_of_root(created: &Path) -> Result<Option<Self>, Error> {
        let metadata = fs::metadata(created)
            .map_err(Error::io(format!("cannot read {}", created.display())))?;
        if metadata.uid() != 0 {
            return Ok(None);
        }
        let users =
            fs::read_to_string("/etc/passwd").map_err(Error::io("cannot read /etc/passwd"))?;
        ["postgres", "nobody"].iter().find_map(|name| Self::named(name, &users)).map(Some).ok_or_else(|| {
            Error::new(
                "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor a user \
                 `nobody` that could run it: run this as another user, or set DATABASE_URL to a running \
                 server",
            )
        })
    }

    fn named(name: &str, passwd: &str) -> Option<Self> {
        let mut fields = passwd
            .lines()
            .map(|line| line.split(':'))
            .find(|line| line.clone().next() == Some(name))?;
        // Some systems write the number of `nobody` as -2.
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

    /// Makes this user the owner of a file or directory.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(Error::io(format!(
            "cannot make {} belong to the user {}",
            path.display(),
            self.name
        )))
    }

    /// Makes the command run as this user, without root's supplementary groups.
    pub(crate) fn run_as<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.uid(self.uid).gid(self.gid)
    }

    /// Returns whether `test` with this option, such as `-x`, succeeds for the user. The operating system
    /// also considers the parent directories and access control lists.
    pub(crate) fn has_access(&self, test: &str, path: &Path) -> bool {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"test "$1" "$2""#, "sh", test])
            .arg(path)
            .current_dir("/");
        self.run_as(&mut command)
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
        assert_eq!(User::named("absent", PASSWD), None);
        assert_eq!(
            User::named("root", PASSWD),
            None,
            "the server must not run as root"
        );
    }
}
