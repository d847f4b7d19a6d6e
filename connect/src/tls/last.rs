//! The TLS of the last connection.

use std::sync::{Mutex, PoisonError};

use super::{Tls, TlsSettings, files::Files};

/// The TLS of the last connection, and the files it was made of. Connections use it again while the files have the
/// same content, because parsing many certificates takes tens of milliseconds.
#[derive(Default)]
pub(crate) struct LastTls(Mutex<Option<(Files, Tls)>>);

impl LastTls {
    /// Reads the files again, because they may have changed since the last connection.
    pub(crate) fn get(&self, settings: &TlsSettings) -> Result<Tls, String> {
        // The others wait, because each would parse the same certificates.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(settings)?;
        if let Some((same, tls)) = &*last {
            if *same == files && tls.is_current() {
                return Ok(tls.clone());
            }
        }
        let tls = Tls::new(settings, &files)?;
        // OpenSSL reads some of the files itself, and they may have changed in between.
        if Files::read(settings)? == files {
            *last = Some((files, tls.clone()));
        }
        Ok(tls)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[cfg(not(feature = "tls"))]
    use std::time::{Duration, SystemTime};
    use std::{
        fs::{self, File, Permissions},
        io::Write,
        os::unix::fs::PermissionsExt,
        path::{Path, PathBuf},
        process::Command,
        thread,
    };

    use tempfile::TempDir;
    use throwaway_postgres::certificates::{Ca, Pair};

    use super::*;
    use crate::{
        ssl_mode::SslMode,
        tls::{Identity, Roots},
    };

    /// Settings whose files are in this directory.
    fn settings(files: &TempDir) -> TlsSettings {
        let file = |name| files.path().join(name);
        TlsSettings {
            mode: SslMode::VerifyFull,
            roots: Roots::File(file("roots.pem")),
            revoked: Some(file("revoked.pem")),
            identity: Some(Identity {
                certificate: file("client.pem"),
                key: file("client.key"),
                key_password: None,
            }),
            sends_name: true,
        }
    }

    fn write(directory: &TempDir, name: &str, content: &str) -> PathBuf {
        let file = directory.path().join(name);
        fs::write(&file, content).unwrap();
        set_mode(&file, 0o600);
        file
    }

    fn set_mode(file: &Path, mode: u32) {
        fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
    }

    fn write_pair(directory: &TempDir, pair: &Pair) {
        write(directory, "client.pem", &pair.cert_pem);
        write(directory, "client.key", &pair.key_pem);
    }

    #[test]
    fn connections_share_what_was_read_until_the_content_of_a_file_changes() {
        let files = tempfile::tempdir().unwrap();
        let ca = Ca::new("ours").unwrap();
        let (one, another) = (ca.client("one").unwrap(), ca.client("another").unwrap());
        write(&files, "roots.pem", ca.pem());
        write(&files, "revoked.pem", &ca.revoked(&[]).unwrap());
        write_pair(&files, &one);
        let (settings, last) = (settings(&files), LastTls::default());
        let get = || last.get(&settings).unwrap();

        let mut before = get();
        let mut is_shared = || {
            let now = get();
            let is_shared = now.is_same_as(&before);
            before = now;
            is_shared
        };
        assert!(is_shared());
        // The same content in a newer file.
        write(&files, "roots.pem", ca.pem());
        assert!(is_shared());
        let both = Ca::new("another").unwrap().pem().to_owned() + ca.pem();
        write(&files, "roots.pem", &both);
        assert!(!is_shared() && is_shared());
        write(&files, "revoked.pem", &ca.revoked(&[&one]).unwrap());
        assert!(!is_shared() && is_shared());
        write_pair(&files, &another);
        assert!(!is_shared() && is_shared());
    }

    #[test]
    fn a_key_that_others_may_read_since_the_last_connection_is_refused() {
        let files = tempfile::tempdir().unwrap();
        let ca = Ca::new("ours").unwrap();
        write(&files, "roots.pem", ca.pem());
        write(&files, "revoked.pem", &ca.revoked(&[]).unwrap());
        write_pair(&files, &ca.client("one").unwrap());
        let (settings, last) = (settings(&files), LastTls::default());
        last.get(&settings).unwrap();
        set_mode(&files.path().join("client.key"), 0o604);
        let error = last.get(&settings).err().unwrap();
        assert!(error.contains("chmod 600"), "{error}");
        set_mode(&files.path().join("client.key"), 0o600);
        last.get(&settings).unwrap();
    }

    /// The revocation list is a named pipe at first, so that the other files change after they have been read.
    #[test]
    fn what_was_read_while_a_file_changed_is_not_shared() {
        let files = tempfile::tempdir().unwrap();
        let (ours, another) = (Ca::new("ours").unwrap(), Ca::new("another").unwrap());
        write(&files, "roots.pem", ours.pem());
        write_pair(&files, &ours.client("one").unwrap());
        let pipe = files.path().join("revoked.pem");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let (settings, last) = (settings(&files), LastTls::default());
        let get = || last.get(&settings).unwrap();
        let list = ours.revoked(&[]).unwrap();
        let mixed = thread::scope(|scope| {
            scope.spawn(|| {
                let mut reader = File::options().write(true).open(&pipe).unwrap();
                write(&files, "roots.pem", another.pem());
                fs::rename(write(&files, "new.pem", &list), &pipe).unwrap();
                reader.write_all(list.as_bytes()).unwrap();
            });
            get()
        });
        write(&files, "roots.pem", ours.pem());
        let next = get();
        assert!(!next.is_same_as(&mixed));
        assert!(get().is_same_as(&next));
    }

    /// rustls does not check the dates of root certificates, so a connection must not share them for longer.
    #[cfg(not(feature = "tls"))]
    #[test]
    fn what_was_read_is_not_shared_after_a_root_certificate_has_expired() {
        let files = tempfile::tempdir().unwrap();
        let end = SystemTime::now() + Duration::from_secs(2);
        let brief = Ca::valid_until("brief", end).unwrap();
        write(&files, "roots.pem", brief.pem());
        let (mut settings, last) = (settings(&files), LastTls::default());
        (settings.revoked, settings.identity) = (None, None);
        let first = last.get(&settings).unwrap();
        while SystemTime::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        let second = last.get(&settings).unwrap();
        assert!(!second.is_same_as(&first));
        assert!(last.get(&settings).unwrap().is_same_as(&second));
    }
}
