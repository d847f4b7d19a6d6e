//! The root certificates.

use std::time::SystemTime;

use rustls::{RootCertStore, pki_types::CertificateDer};
use x509_cert::{Certificate, der::Decode};

use super::{explain, pem};

/// The root certificates that are valid now. rustls does not check their dates.
pub(super) struct Valid {
    pub(super) store: RootCertStore,
    /// When one of them, or another, begins or ceases to be valid.
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

    /// As by OpenSSL, certificates that cannot be read are not trusted, and are no error.
    pub(super) fn of_system(now: SystemTime) -> Valid {
        let mut valid = Valid::none();
        for certificate in rustls_native_certs::load_native_certs().certs {
            let _ = valid.add(certificate, now);
        }
        valid
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
