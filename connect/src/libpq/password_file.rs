//! libpq's password file: lines of `host:port:database:user:password`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The default directories of the server's socket in the builds of PostgreSQL and Debian. As in libpq, a line
/// for `localhost` matches them too.
const SOCKET_DIRECTORIES: [&str; 2] = ["/tmp", "/var/run/postgresql"];

/// The entry for a connection. It does not implement `Debug`, which would show the password.
pub(crate) enum Entry {
    /// The password of the first line that matches. It may be empty.
    Password(String),
    /// The file does not exist, or no line matches.
    Missing,
    /// The file was ignored for this reason.
    Ignored(String),
}

/// Returns the entry for a connection. As in libpq, the first line that matches counts.
pub(crate) fn find(path: &Path, host: &str, port: u16, dbname: &str, user: &str) -> Entry {
    if dbname.is_empty() || user.is_empty() {
        return Entry::Missing;
    }
    match read(path) {
        Ok(Some(content)) => match search(&content, host, port, dbname, user) {
            Some((_, Ok(password))) => Entry::Password(password),
            Some((line, Err(problem))) => ignored(path, format!("line {line} {problem}")),
            None => Entry::Missing,
        },
        Ok(None) => Entry::Missing,
        Err(problem) => ignored(path, problem),
    }
}

fn ignored(path: &Path, problem: impl std::fmt::Display) -> Entry {
    Entry::Ignored(format!(
        "the password file {} is ignored: {problem}",
        path.display()
    ))
}

/// The path of the user's password file.
pub(crate) fn default_path() -> Option<PathBuf> {
    let name = if cfg!(windows) {
        "pgpass.conf"
    } else {
        ".pgpass"
    };
    Some(user_directory()?.join(name))
}

/// The directory of the user's files for libpq.
pub(crate) fn user_directory() -> Option<PathBuf> {
    if cfg!(windows) {
        return Some(PathBuf::from(env::var_os("APPDATA")?).join("postgresql"));
    }
    // It was deprecated until Rust 1.87 because of its behaviour on Windows.
    #[allow(deprecated)]
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The content of the file, if it exists. It is an error if other users have access to it.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if is_missing(&e) => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    #[cfg(unix)]
    check_mode(path, &metadata)?;
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// On Windows the directory protects the file.
#[cfg(unix)]
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;

    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(format!(
        "its mode {mode:04o} gives other users access: run `chmod 600 {}`",
        path.display()
    ))
}

/// The number of the first line that matches, and its password or the reason why it has none.
fn search(
    content: &[u8],
    host: &str,
    port: u16,
    dbname: &str,
    user: &str,
) -> Option<(usize, Result<String, &'static str>)> {
    let host = if host.is_empty() { "localhost" } else { host };
    let is_local = SOCKET_DIRECTORIES.contains(&host);
    let port = port.to_string();
    content
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.starts_with(b"#"))
        .find_map(|(index, line)| {
            let line = strip_returns(line);
            let rest = after_match(line, host)
                .or_else(|| after_match(line, "localhost").filter(|_| is_local))?;
            let rest = after_match(rest, &port)?;
            let rest = after_match(rest, dbname)?;
            let rest = after_match(rest, user)?;
            let password = String::from_utf8(unescape_field(rest));
            Some((index + 1, password.map_err(|_| "is not UTF-8")))
        })
}

fn strip_returns(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_suffix(b"\r") {
        line = rest;
    }
    line
}

/// The rest of the line behind the first field and its colon, if the field is `*` or has this value.
fn after_match<'a>(line: &'a [u8], value: &str) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let mut rest = line;
    for &byte in value.as_bytes() {
        let (found, after) = match rest {
            [b'\\', escaped, after @ ..] => (*escaped, after),
            // Includes a colon: libpq accepts `::1` without backslashes.
            [plain, after @ ..] => (*plain, after),
            [] => return None,
        };
        if found != byte {
            return None;
        }
        rest = after;
    }
    rest.strip_prefix(b":")
}

/// The first field without its backslashes. As in libpq, more fields may follow.
fn unescape_field(line: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    let mut rest = line;
    loop {
        rest = match rest {
            [] | [b':', ..] => return field,
            [b'\\', escaped, after @ ..] => {
                field.push(*escaped);
                after
            }
            [plain, after @ ..] => {
                field.push(*plain);
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Entry, find};
    use crate::libpq::test_files::TestFiles;

    impl Entry {
        /// The entry as a text, to compare it.
        fn shown(&self) -> String {
            match self {
                Entry::Password(password) => format!("password {password}"),
                Entry::Missing => "missing".to_owned(),
                Entry::Ignored(problem) => format!("ignored: {problem}"),
            }
        }
    }

    /// Looks `h:1:d:u` up.
    fn search(path: &Path) -> String {
        find(path, "h", 1, "d", "u").shown()
    }

    /// Checks what each content has for `h:1:d:u`.
    fn gives(cases: &[(&str, &str)]) {
        let files = TestFiles::new();
        for (content, expected) in cases {
            let path = files.file("pgpass", content);
            assert_eq!(search(&path), *expected, "{content:?}");
        }
    }

    #[test]
    fn a_line_that_matches_gives_its_password() {
        gives(&[
            ("h:1:d:u:secret", "password secret"),
            ("h:1:d:u:secret\n", "password secret"),
            ("h:1:d:u: s ", "password  s "),
            ("h:1:d:u:", "password "),
            ("h:1:d:v:secret", "missing"),
            ("h:1:e:u:secret", "missing"),
            ("h:2:d:u:secret", "missing"),
            ("hh:1:d:u:secret", "missing"),
            (":1:d:u:secret", "missing"),
            ("h:01:d:u:secret", "missing"),
            ("h:1:d:u", "missing"),
            ("", "missing"),
        ]);
    }

    #[test]
    fn the_first_line_that_matches_wins() {
        gives(&[
            ("h:1:d:v:x\nh:1:d:u:a\nh:1:d:u:b\n", "password a"),
            ("*:*:*:*:a\nh:1:d:u:b\n", "password a"),
        ]);
    }

    #[test]
    fn a_star_stands_for_any_value_if_it_is_the_whole_field() {
        gives(&[
            ("*:*:*:*:secret", "password secret"),
            ("h:*:d:*:secret", "password secret"),
            ("h*:1:d:u:secret", "missing"),
            ("\\*:1:d:u:secret", "missing"),
        ]);
    }

    #[test]
    fn comments_blank_lines_and_carriage_returns_are_skipped() {
        gives(&[
            ("# h:1:d:u:a\n\n\r\nh:1:d:u:b\r\n", "password b"),
            ("#h:1:d:u:a", "missing"),
            (" h:1:d:u:a", "missing"),
            ("h:1:d:u:a\r\r\n", "password a"),
        ]);
    }

    #[test]
    fn a_password_ends_at_a_colon_without_backslash() {
        gives(&[
            ("h:1:d:u:a:b", "password a"),
            (r"h:1:d:u:a\:b\\c\d", r"password a:b\cd"),
            (r"h:1:d:u:a\", r"password a\"),
        ]);
    }

    #[test]
    fn a_backslash_escapes_a_colon_and_a_backslash_in_any_field() {
        let files = TestFiles::new();
        for line in [r"\:\:1:1:a\:b:c\\d:secret", r"::1:1:a:b:c\\d:secret"] {
            let path = files.file("pgpass", line);
            let found = find(&path, "::1", 1, "a:b", r"c\d").shown();
            assert_eq!(found, "password secret", "{line}");
        }
    }

    #[test]
    fn localhost_matches_no_host_and_the_usual_socket_directories() {
        let files = TestFiles::new();
        let path = files.file("pgpass", "localhost:1:d:u:secret\n/run/x:1:d:u:other\n");
        let found = |host| find(&path, host, 1, "d", "u").shown();
        for host in ["", "localhost", "/tmp", "/var/run/postgresql"] {
            assert_eq!(found(host), "password secret", "{host}");
        }
        assert_eq!(found("/run/x"), "password other");
        assert_eq!(found("/run"), "missing");
        let path = files.file("pgpass", "/tmp:1:d:u:secret");
        assert_eq!(find(&path, "/tmp", 1, "d", "u").shown(), "password secret");
    }

    #[test]
    fn nothing_matches_an_unknown_database_or_user() {
        let files = TestFiles::new();
        let path = files.file("pgpass", "*:*:*:*:secret");
        assert_eq!(find(&path, "h", 1, "", "u").shown(), "missing");
        assert_eq!(find(&path, "h", 1, "d", "").shown(), "missing");
    }

    #[test]
    fn a_missing_file_has_no_password() {
        let files = TestFiles::new();
        assert_eq!(search(&files.path().join("pgpass")), "missing");
        let path = files.file("pgpass", "");
        assert_eq!(search(&path.join("below a file")), "missing");
    }

    #[test]
    fn a_directory_is_ignored() {
        let files = TestFiles::new();
        let found = search(files.path());
        assert!(found.starts_with("ignored: "), "{found}");
        assert!(found.contains("not a regular file"), "{found}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_to_which_other_users_have_access_is_ignored() {
        use crate::libpq::test_files::set_mode;

        let files = TestFiles::new();
        let path = files.file("pgpass", "*:*:*:*:secret");
        for (mode, shown) in [(0o640, "0640"), (0o602, "0602"), (0o610, "0610")] {
            set_mode(&path, mode);
            let found = search(&path);
            let name = path.display();
            for part in [
                name.to_string(),
                shown.into(),
                format!("`chmod 600 {name}`"),
            ] {
                assert!(found.contains(&part), "{found}");
            }
            assert!(!found.contains("secret"), "{found}");
        }
        set_mode(&path, 0o400);
        assert_eq!(search(&path), "password secret");
    }

    #[test]
    fn a_password_that_is_not_utf_8_is_named_by_its_line() {
        let files = TestFiles::new();
        let path = files.file("pgpass", b"\xff:1:d:u:x\nh:1:d:u:secret\xff\n");
        let found = search(&path);
        assert!(found.ends_with("line 2 is not UTF-8"), "{found}");
    }
}
