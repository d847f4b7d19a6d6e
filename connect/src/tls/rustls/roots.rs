//! The root certificates.

use std::{io, time::SystemTime};

use rustls::{RootCertStore, pki_types::CertificateDer};
use rustls_native_certs::{CertificateResult, ErrorKind};
use x509_cert::{Certificate, der::Decode};

use super::{super::files::ROOTS, explain, pem};

/// The root certificates that are valid now. rustls does not check their dates.
pub(super) struct Valid {
    pub(super) store: RootCertStore,
    /// When connections can no longer share them: one of them, or another, begins or ceases to be valid, or some could
    /// not be read because of a failure that may be over then.
    pub(super) until: Option<SystemTime>,
}

impl Valid {
    pub(super) fn in_file(pem: &[u8], now: SystemTime) -> Result<Valid, String> {
        let mut valid = Valid::none();
        for certificate in pem::certificates(pem)? {
            valid.add(certificate, now)?;
        }
        Ok(valid)
    }

    pub(super) fn of_system(now: SystemTime) -> Result<Valid, String> {
        Valid::loaded(rustls_native_certs::load_native_certs(), now)
    }

    /// The system's certificates. As with OpenSSL, those that cannot be read are not trusted, and are no error, because
    /// directories of certificates also contain other files. These may be more than with OpenSSL, because rustls and
    /// x509-cert are stricter. Unlike with OpenSSL, it is an error if there is none at all.
    fn loaded(loaded: CertificateResult, now: SystemTime) -> Result<Valid, String> {
        let CertificateResult { certs, errors, .. } = loaded;
        let mut valid = Valid::none();
        let mut reasons: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let mut is_any_read = false;
        for certificate in certs {
            match valid.add(certificate, now) {
                Ok(()) => is_any_read = true,
                Err(why) => reasons.push(why),
            }
        }
        if is_any_read {
            if errors.iter().any(may_be_over_soon) {
                valid.until = Some(now);
            }
            return Ok(valid);
        }
        if reasons.is_empty() {
            return Err(format!(
                "the system has no {ROOTS}: name a file of them with sslrootcert"
            ));
        }
        let reasons = reasons.join(", ");
        Err(format!("the system's {ROOTS} cannot be read: {reasons}"))
    }

    fn none() -> Valid {
        Valid {
            store: RootCertStore::empty(),
            until: None,
        }
    }

    fn add(&mut self, certificate: CertificateDer<'_>, now: SystemTime) -> Result<(), String> {
        let parsed = Certificate::from_der(&certificate)
            .map_err(|e| format!("a certificate is not valid: {e}"))?;
        let validity = parsed.tbs_certificate.validity;
        let begin = validity.not_before.to_system_time();
        let end = validity.not_after.to_system_time();
        let next = [begin, end].into_iter().filter(|time| *time > now).min();
        self.until = self.until.into_iter().chain(next).min();
        if begin <= now && now < end {
            let added = self.store.add(certificate);
            added.map_err(|e| format!("a certificate is not valid: {}", explain::error(&e)))?;
        }
        Ok(())
    }
}

/// Whether a repetition may succeed without a change of the files, for example because no file descriptor was left.
fn may_be_over_soon(error: &rustls_native_certs::Error) -> bool {
    match &error.kind {
        ErrorKind::Io { inner, .. } => inner.kind() != io::ErrorKind::PermissionDenied,
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, SystemTime};

    use throwaway_postgres::certificates::Ca;

    use super::*;

    #[test]
    fn a_root_certificate_is_trusted_only_between_its_dates() {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800); // 2020
        let (soon, end) = (begin + YEAR, begin + 2 * YEAR);
        let (brief, long) = (Ca::valid_until("brief", soon), Ca::valid_until("long", end));
        let pem = brief.unwrap().pem().to_owned() + long.unwrap().pem();
        for (now, count, until) in [
            (begin - YEAR, 0, Some(begin)),
            (begin, 2, Some(soon)),
            (soon, 1, Some(end)),
            (end, 0, None),
        ] {
            let valid = Valid::in_file(pem.as_bytes(), now).unwrap();
            assert_eq!((valid.store.len(), valid.until), (count, until), "{now:?}");
        }
    }

    #[test]
    fn some_of_the_systems_certificates_are_read_again_only_if_that_may_succeed() {
        let now = SystemTime::now();
        let ca = Ca::new("ours").unwrap();
        let read = pem::certificates(ca.pem().as_bytes()).unwrap().remove(0);
        let no_certificate = CertificateDer::from(vec![0]);
        let io = |kind: io::ErrorKind| ErrorKind::Io {
            inner: kind.into(),
            path: "/roots".into(),
        };
        for (kind, is_shared) in [
            (io(io::ErrorKind::PermissionDenied), true),
            (ErrorKind::Os("not trusted".into()), true),
            (io(io::ErrorKind::Other), false),
        ] {
            let mut result = CertificateResult::default();
            result.certs = vec![no_certificate.clone(), read.clone()];
            result.errors = vec![rustls_native_certs::Error { context: "", kind }];
            let valid = Valid::loaded(result, now).unwrap();
            assert_eq!(valid.store.len(), 1);
            assert_eq!(valid.until.unwrap() > now, is_shared);
        }
        let mut result = CertificateResult::default();
        result.certs = vec![no_certificate];
        let error = Valid::loaded(result, now).err().unwrap();
        assert!(error.contains("a certificate is not valid"), "{error}");
    }

    #[test]
    fn a_root_certificate_that_cannot_be_read_is_an_error() {
        let now = SystemTime::now();
        let good = Ca::new("ours").unwrap().pem().to_owned();
        for (text, why) in [
            (String::new(), "no section"),
            (
                good.replace(" CERTIFICATE", " TRUSTED CERTIFICATE"),
                "openssl x509",
            ),
            (
                good.clone() + &good.replace(" CERTIFICATE", " X509 CERTIFICATE"),
                "openssl x509",
            ),
            (
                good.clone() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "not valid",
            ),
            (good.replace("-----END", ""), "not valid PEM"),
        ] {
            let error = Valid::in_file(text.as_bytes(), now).err().unwrap();
            assert!(error.contains(why), "not {why:?}: {error}");
        }
    }
}
