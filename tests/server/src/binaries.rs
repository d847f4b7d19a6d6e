//! Where PostgreSQL is on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::Error;

/// Folders with one folder for each version, as `(folder, start of the names, folder below)`.
const PLACES: &[(&str, &str, &str)] = &[
    ("/usr/lib/postgresql", "", "bin"), // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),          // packages of postgresql.org for Red Hat and its kin
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"), // Homebrew on Intel
    ("/Library/PostgreSQL", "", "bin"),      // the installer for macOS
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// A folder with `initdb` and `postgres`.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) dir: PathBuf,
    /// What `postgres --version` prints.
    pub(crate) version: String,
}

impl Binaries {
    /// The folder that `PG_BIN` names, else the newest of those that are found.
    pub(crate) fn find() -> Result<Self, Error> {
        match env::var_os("PG_BIN") {
            Some(dir) if !dir.is_empty() => Self::told(Path::new(&dir)),
            _ => newest(&candidates()).ok_or_else(|| {
                Error::new(
                    "no PostgreSQL server found on this machine. Install one (apt-get install postgresql; \
                     dnf install postgresql-server; brew install postgresql), or set PG_BIN to the folder \
                     that has initdb and postgres, or set DATABASE_URL to a running server",
                )
            }),
        }
    }

    fn told(dir: &Path) -> Result<Self, Error> {
        Self::at(dir).ok_or_else(|| {
            Error::new(format!(
                "PG_BIN is {}, and there is no working initdb and postgres in that folder: set PG_BIN to \
                 the bin folder of a PostgreSQL server, or unset it to let one be found",
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

    /// The version's numbers, for comparing: 9.6 is older than 10, 15.9 than 15.18.
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

/// The newest; of equals the first.
fn newest(dirs: &[PathBuf]) -> Option<Binaries> {
    dirs.iter()
        .rev()
        .filter_map(|dir| Binaries::at(dir))
        .max_by_key(Binaries::numbers)
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for dir in env::split_paths(&env::var_os("PATH").unwrap_or_default()) {
        // A link to the program: the rest of PostgreSQL is where that is.
        dirs.extend(
            dir.join("postgres")
                .canonicalize()
                .ok()
                .and_then(|real| real.parent().map(Path::to_owned)),
        );
        dirs.push(dir);
    }
    dirs.extend(output(Command::new("pg_config").arg("--bindir")).map(PathBuf::from));
    for (folder, start, below) in PLACES {
        dirs.extend(
            versions(Path::new(folder), start)
                .into_iter()
                .map(|version| version.join(below)),
        );
    }
    dirs
}

fn versions(folder: &Path, start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    let mut found: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// What the command prints, if it is there and succeeds.
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

    /// A folder of made-up installations, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = env::temp_dir().join(format!("binaries-{name}-{}", std::process::id()));
            fs::create_dir(&folder).expect("a new folder");
            Self(folder.canonicalize().expect("its real path"))
        }

        fn install(&self, name: &str, version: &str, programs: &[&str]) -> PathBuf {
            let dir = self.0.join(name);
            fs::create_dir(&dir).expect("a folder for programs");
            for program in programs {
                let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n");
                // Copied into place: a program that a concurrent fork still has open for writing
                // cannot run.
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

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const BOTH: &[&str] = &["initdb", "postgres"];

    #[test]
    fn the_newest_wins_by_number() {
        let folder = Folder::new("newest");
        folder.install("a", "9.6.24", BOTH);
        folder.install("b", "15.9 (Debian 15.9-1)", BOTH);
        folder.install("c", "15.18 (Debian 15.18-0)", BOTH);
        folder.install("d", "15.10", BOTH);
        let found = newest(&versions(&folder.0, "")).expect("one of them");
        assert_eq!(found.dir, folder.0.join("c"));
        assert_eq!(
            found.version,
            "postgres (PostgreSQL) 15.18 (Debian 15.18-0)"
        );
        folder.install("e", "18beta1", BOTH);
        assert_eq!(
            newest(&versions(&folder.0, "")).expect("one").dir,
            folder.0.join("e")
        );
    }

    #[test]
    fn of_equals_the_first_wins() {
        let folder = Folder::new("equals");
        let (a, b) = (
            folder.install("a", "17.2", BOTH),
            folder.install("b", "17.2", BOTH),
        );
        assert_eq!(newest(&[b.clone(), a]).expect("one").dir, b);
    }

    #[test]
    fn a_folder_needs_both_programs() {
        let folder = Folder::new("both");
        let client = folder.install("client", "18.1", &["initdb"]);
        let half = folder.install("half", "18.1", &["postgres"]);
        let whole = folder.install("whole", "13.2", BOTH);
        assert_eq!(
            newest(&[client.clone(), half.clone(), whole.clone()])
                .expect("one")
                .dir,
            whole
        );
        assert!(newest(&[client, half]).is_none());
    }

    #[test]
    fn a_link_leads_to_the_real_folder() {
        let folder = Folder::new("link");
        let real = folder.install("real", "16.1", BOTH);
        symlink(&real, folder.0.join("link")).expect("a link");
        assert_eq!(newest(&[folder.0.join("link")]).expect("one").dir, real);
    }

    #[test]
    fn names_are_taken_by_their_start() {
        let folder = Folder::new("names");
        for name in ["pgsql-16", "pgsql-17", "share"] {
            folder.install(name, "1", &[]);
        }
        assert_eq!(
            versions(&folder.0, "pgsql-"),
            [folder.0.join("pgsql-16"), folder.0.join("pgsql-17")]
        );
        assert!(versions(&folder.0.join("none"), "").is_empty());
    }
}
