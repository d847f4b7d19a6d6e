//! libpq's connection service file: sections of `keyword=value` lines.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{connection_string::is_blank, password_file::user_directory};

/// The files that may define a service. The first one that has the section counts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sources<'a> {
    /// The file of `servicefile` or PGSERVICEFILE. It must exist.
    pub(crate) file: Option<&'a Path>,
    /// The user's file, see [`default_path`]. Ignored if there is a `file`.
    pub(crate) user_file: Option<&'a Path>,
    /// The directory of the system's `pg_service.conf`: PGSYSCONFDIR.
    pub(crate) system_directory: Option<&'a Path>,
}

/// The path of the user's service file.
pub(crate) fn default_path() -> Option<PathBuf> {
    Some(user_directory()?.join(".pg_service.conf"))
}

/// Reads the section of this name, as libpq does. Each keyword occurs once.
///
/// The caller checks whether the keywords exist. The error quotes no value.
pub(crate) fn read(name: &str, sources: Sources<'_>) -> Result<Vec<(String, String)>, String> {
    let own = match sources.file {
        Some(file) => Some((file, true)),
        None => sources.user_file.map(|file| (file, false)),
    };
    let system_file = sources
        .system_directory
        .map(|directory| directory.join("pg_service.conf"));
    let system = system_file.as_deref().map(|file| (file, false));

    let mut seen = Vec::new();
    for (path, is_required) in own.into_iter().chain(system) {
        let path_shown = path.display();
        if !is_required && fs::metadata(path).is_err() {
            seen.push(format!("{path_shown} (does not exist)"));
            continue;
        }
        let content = fs::read(path)
            .map_err(|e| format!("the service file {path_shown} cannot be read: {e}"))?;
        let section = section(&content, name)
            .map_err(|problem| format!("in the service file {path_shown}, {problem}"))?;
        if let Some(pairs) = section {
            return Ok(pairs);
        }
        seen.push(path_shown.to_string());
    }
    if seen.is_empty() {
        seen.push("no file, because none is named and there is no home directory".to_owned());
    }
    Err(format!(
        "the service {name:?} is not defined: there is no section [{name}] in {}",
        seen.join(" and ")
    ))
}

/// The pairs of the first section of this name, if there is one.
fn section(content: &[u8], name: &str) -> Result<Option<Vec<(String, String)>>, String> {
    let mut pairs: Option<Vec<(String, String)>> = None;
    for (index, line) in content.split(|&byte| byte == b'\n').enumerate() {
        // Text that is not UTF-8 is an error only within the section.
        let text = String::from_utf8_lossy(line);
        let text = text.trim_matches(is_blank);
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(header) = text.strip_prefix('[') {
            if pairs.is_some() {
                break;
            }
            let is_it = header
                .strip_prefix(name)
                .is_some_and(|after| after.starts_with(']'));
            pairs = is_it.then(Vec::new);
        } else if let Some(pairs) = &mut pairs {
            let number = index + 1;
            if std::str::from_utf8(line).is_err() {
                return Err(format!("line {number} is not UTF-8"));
            }
            let (keyword, value) =
                parse_line(text).map_err(|problem| format!("line {number} {problem}"))?;
            // Unlike in a connection string, the first occurrence of a keyword counts.
            if pairs.iter().all(|(earlier, _)| earlier != keyword) {
                pairs.push((keyword.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(pairs)
}

fn parse_line(line: &str) -> Result<(&str, &str), &'static str> {
    if line.starts_with("ldap") {
        return Err("refers to LDAP, which is not supported: write the parameters into the file");
    }
    let Some((keyword, value)) = line.split_once('=') else {
        return Err("is not `keyword=value`");
    };
    if keyword.is_empty() {
        return Err("has no keyword before its `=`");
    }
    if keyword.ends_with(is_blank) {
        return Err("has a blank before its `=`: expected `keyword=value` without blanks");
    }
    if line.contains('\0') {
        return Err("contains a NUL character");
    }
    match keyword {
        "service" => Err("names a service: a service cannot refer to another"),
        "servicefile" => Err("names a service file: a service cannot refer to another"),
        _ => Ok((keyword, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Sources, read};
    use crate::libpq::test_files::TestFiles;

    /// Reads the service `s` of a file of this content.
    fn read_file(content: impl AsRef<[u8]>) -> Result<Vec<(String, String)>, String> {
        let files = TestFiles::new();
        let file = files.file("services", content);
        let sources = Sources {
            file: Some(&file),
            ..Sources::default()
        };
        read("s", sources)
    }

    /// Checks the pairs that each content has for the service `s`.
    fn reads(cases: &[(&str, &[(&str, &str)])]) {
        for (content, expected) in cases {
            let expected = expected
                .iter()
                .map(|(keyword, value)| (keyword.to_string(), value.to_string()))
                .collect();
            assert_eq!(read_file(content), Ok(expected), "{content:?}");
        }
    }

    #[test]
    fn a_section_ends_at_the_next() {
        reads(&[
            ("[s]\nhost=a\nport=1\n", &[("host", "a"), ("port", "1")]),
            ("[r]\nhost=a\n[s]\nhost=b\n[t]\nport=1", &[("host", "b")]),
            ("host=a\n[s]\n", &[]),
            ("[s]\nhost=a\n[s]\nport=1", &[("host", "a")]),
            ("[ss]\nhost=a\n[s] # the second\nhost=b", &[("host", "b")]),
        ]);
    }

    #[test]
    fn comments_and_blanks_around_a_line_are_skipped() {
        reads(&[(
            "# all\r\n\r\n  [s]\t\r\n \t host=a \r\n # host=b\r\n",
            &[("host", "a")],
        )]);
    }

    #[test]
    fn a_value_is_the_rest_of_its_line() {
        reads(&[(
            "[s]\npassword= a=b 'c' \\d#e\noptions=",
            &[("password", " a=b 'c' \\d#e"), ("options", "")],
        )]);
    }

    #[test]
    fn the_first_occurrence_of_a_keyword_counts() {
        reads(&[("[s]\nhost=a\nhost=b\n", &[("host", "a")])]);
    }

    #[test]
    fn the_error_of_an_invalid_line_has_its_number() {
        for (line, expected) in [
            ("secret", "line 2 is not `keyword=value`"),
            ("=secret", "line 2 has no keyword"),
            ("password = secret", "line 2 has a blank before its `=`"),
            ("password=secret\0", "line 2 contains a NUL character"),
            ("service=secret", "line 2 names a service:"),
            ("servicefile=secret", "line 2 names a service file:"),
            ("ldap://secret/dc=x?y?one", "line 2 refers to LDAP"),
        ] {
            let error = read_file(format!("[s]\n{line}\n")).expect_err(line);
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn other_sections_are_not_checked() {
        assert_eq!(read_file(b"\xff\n[\xff]\nx\nservice=y\n[s]\n"), Ok(vec![]));
        let error = read_file(b"[s]\npassword=\xff").expect_err("it is not UTF-8");
        assert!(error.ends_with("line 2 is not UTF-8"), "{error}");
    }

    #[test]
    fn a_named_file_must_exist() {
        let files = TestFiles::new();
        files.file("pg_service.conf", "[s]\nhost=a");
        let missing = files.path().join("missing");
        let error = read(
            "s",
            Sources {
                file: Some(&missing),
                system_directory: Some(files.path()),
                ..Sources::default()
            },
        )
        .expect_err("the file does not exist");
        let expected = format!("the service file {} cannot be read: ", missing.display());
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn a_named_file_replaces_that_of_the_user_and_precedes_that_of_the_system() {
        let files = TestFiles::new();
        let named = files.file("named", "[s]\nhost=named");
        let user = files.file("user", "[s]\nhost=user\n[t]\nhost=user\n[u]\nhost=user\n");
        files.file("pg_service.conf", "[s]\nhost=system\n[t]\nhost=system\n");
        let host = |name, file, user_file| {
            let sources = Sources {
                file,
                user_file,
                system_directory: Some(files.path()),
            };
            read(name, sources).map(|pairs| pairs[0].1.clone())
        };
        let (named, user) = (named.as_path(), user.as_path());
        let missing = files.path().join("missing");
        assert_eq!(host("s", Some(named), Some(user)), Ok("named".into()));
        assert_eq!(host("t", Some(named), Some(user)), Ok("system".into()));
        assert_eq!(host("s", None, Some(user)), Ok("user".into()));
        assert_eq!(host("s", None, Some(&missing)), Ok("system".into()));
        assert_eq!(host("s", None, None), Ok("system".into()));
        host("u", Some(named), Some(user)).expect_err("only the user's file has it");
    }

    #[test]
    fn the_error_of_an_unknown_service_names_the_files() {
        let files = TestFiles::new();
        let user = files.file("user", "[t]");
        let error = read(
            "s",
            Sources {
                user_file: Some(&user),
                system_directory: Some(files.path()),
                ..Sources::default()
            },
        )
        .expect_err("it is not defined");
        let system = files.path().join("pg_service.conf");
        for part in [
            "service \"s\"".to_owned(),
            format!("in {} and ", user.display()),
            format!("{} (does not exist)", system.display()),
        ] {
            assert!(error.contains(&part), "{error}");
        }
        let error = read("s", Sources::default()).expect_err("there is no file");
        assert!(error.contains("no file"), "{error}");
    }
}
