//! Finds PostgreSQL's programs on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::Error;

/// Directories with a subdirectory for each version: `(directory, prefix of the subdirectories, directory of
/// the programs in them)`.
const VERSIONED_DIRS: &[(&str, &str, &str)] = &[
    ("/usr/lib/postgresql", "", "bin"), // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),          // packages of postgresql.org for Red Hat and derivatives
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"), // Homebrew on Intel
    ("/Library/PostgreSQL", "", "bin"),      // the installer for macOS
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// A directory with `initdb` and `postgres`.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) dir: PathBuf,
    /// The output of `postgres --version`.
    pub(crate) version: String,
}

impl Binaries {
    /// Returns the directory in `PG_BIN`, or the newest installation if `PG_BIN` is not set.
    pub(crate) fn find() -> Result<Self, Error> {
        match env::var_os("PG_BIN") {
            Some(dir) if !dir.is_empty() => Self::named_by_pg_bin(Path::new(&dir)),
            _ => newest(&candidates()).ok_or_else(|| {
                Error::new(
                    "no PostgreSQL server found on this machine. Install one (apt-get install postgresql; \
                     dnf install postgresql-server; brew install postgresql), or set PG_BIN to the directory \
                     that has initdb and postgres, or set DATABASE_URL to a running server",
                )
            }),
        }
    }

    fn named_by_pg_bin(dir: &Path) -> Result<Self, Error> {
        Self::at(dir).ok_or_else(|| {
            Error::new(format!(
                "PG_BIN is {}, and that directory has no working initdb and postgres: set PG_BIN to the bin \
                 directory of a PostgreSQL server, or unset it to search for one",
                dir.display()
            ))
        })
    }

    fn at(dir: &Path) -> Option<Self> {
        let dir = dir.canonicalize().ok()?;
        let version = output(Command::new(dir.join("postgres")).arg("--version"))?;
        dir.join("initdb")
            .is_file()
            .then_some(Self { dir, version })
    }

    /// Returns the numbers of the version, for comparisons: 9.6 is older than 10, and 15.9 than 15.18.
    fn numbers(&self) -> Vec<u32> {
        let version = self
            .version
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let numbers = version
            .unwrap_or_default()
            .split(|c: char| !c.is_ascii_digit());
        numbers.map_while(|number| number.parse().ok()).collect()
    }
}

/// Returns the newest installation, the first one of several with the same version.
fn newest(dirs: &[PathBuf]) -> Option<Binaries> {
    dirs.iter()
        .rev()
        .filter_map(|dir| Binaries::at(dir))
        .max_by_key(Binaries::numbers)
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for dir in env::split_paths(&env::var_os("PATH").unwrap_or_default()) {
        // If this is a link, the other programs may be only in the directory that it leads to.
        dirs.extend(
            dir.join("postgres")
                .canonicalize()
                .ok()
                .and_then(|real| real.parent().map(Path::to_owned)),
        );
        dirs.push(dir);
    }
    dirs.extend(output(Command::new("pg_config").arg("--bindir")).map(PathBuf::from));
    for (dir, prefix, below) in VERSIONED_DIRS {
        dirs.extend(
            versions(Path::new(dir), prefix)
                .into_iter()
                .map(|version| version.join(below)),
        );
    }
    dirs
}

fn versions(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    let mut found: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Returns the output of the command if it exists, succeeds and prints something.
fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A directory of fake installations, deleted at the end.
    struct Installations(PathBuf);

    impl Installations {
        fn new(name: &str) -> Self {
            let dir = env::temp_dir().join(format!("binaries-{name}-{}", std::process::id()));
            fs::create_dir(&dir).expect("a new directory");
            Self(dir.canonicalize().expect("its real path"))
        }

        fn install(&self, name: &str, version: &str, programs: &[&str]) -> PathBuf {
            let dir = self.0.join(name);
            fs::create_dir(&dir).expect("a directory for programs");
            for program in programs {
                let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n");
                // A file cannot be executed while a concurrently forked process still has it open for
                // writing. `cp` writes the program in another process.
                fs::write(dir.join("script"), script).expect("a program");
                fs::set_permissions(dir.join("script"), fs::Permissions::from_mode(0o755))
                    .expect("its mode");
                let copied = Command::new("cp")
                    .arg("-p")
                    .arg(dir.join("script"))
                    .arg(dir.join(program))
                    .status();
                assert!(copied.is_ok_and(|status| status.success()));
            }
            dir
        }
    }

    impl Drop for Installations {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const BOTH: &[&str] = &["initdb", "postgres"];

    #[test]
    fn the_newest_version_by_number_is_used() {
        let dir = Installations::new("newest");
        dir.install("a", "9.6.24", BOTH);
        dir.install("b", "15.9 (Debian 15.9-1)", BOTH);
        dir.install("c", "15.18 (Debian 15.18-0)", BOTH);
        dir.install("d", "15.10", BOTH);
        let found = newest(&versions(&dir.0, "")).expect("one of them");
        assert_eq!(found.dir, dir.0.join("c"));
        assert_eq!(
            found.version,
            "postgres (PostgreSQL) 15.18 (Debian 15.18-0)"
        );
        dir.install("e", "18beta1", BOTH);
        assert_eq!(
            newest(&versions(&dir.0, "")).expect("one").dir,
            dir.0.join("e")
        );
    }

    #[test]
    fn of_equal_versions_the_first_is_used() {
        let dir = Installations::new("equals");
        let (a, b) = (
            dir.install("a", "17.2", BOTH),
            dir.install("b", "17.2", BOTH),
        );
        assert_eq!(newest(&[b.clone(), a]).expect("one").dir, b);
    }

    #[test]
    fn a_directory_needs_both_programs() {
        let dir = Installations::new("both");
        let client = dir.install("client", "18.1", &["initdb"]);
        let half = dir.install("half", "18.1", &["postgres"]);
        let whole = dir.install("whole", "13.2", BOTH);
        assert_eq!(
            newest(&[client.clone(), half.clone(), whole.clone()])
                .expect("one")
                .dir,
            whole
        );
        assert!(newest(&[client, half]).is_none());
    }

    #[test]
    fn a_link_to_a_directory_is_resolved() {
        let dir = Installations::new("link");
        let real = dir.install("real", "16.1", BOTH);
        symlink(&real, dir.0.join("link")).expect("a link");
        assert_eq!(newest(&[dir.0.join("link")]).expect("one").dir, real);
    }

    #[test]
    fn versions_are_found_by_their_prefix() {
        let dir = Installations::new("names");
        for name in ["pgsql-16", "pgsql-17", "share"] {
            dir.install(name, "1", &[]);
        }
        assert_eq!(
            versions(&dir.0, "pgsql-"),
            [dir.0.join("pgsql-16"), dir.0.join("pgsql-17")]
        );
        assert!(versions(&dir.0.join("none"), "").is_empty());
    }
}
