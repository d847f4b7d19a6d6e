//! Certificates for tests of TLS, made anew each time.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::Error;

/// One for each certificate, whoever signs it.
static SERIALS: AtomicU64 = AtomicU64::new(1);

/// An authority that signs certificates.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub cert_pem: String,
    /// The key, not encrypted (PKCS #8).
    pub key_pem: String,
    serial: SerialNumber,
}

impl Ca {
    /// A new authority, with a key that no other has, whatever its name.
    ///
    /// # Errors
    ///
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self, Error> {
        let key = made(KeyPair::generate())?;
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = made(params.self_signed(&key))?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, pem })
    }

    /// The authority's own certificate as PEM: what `sslrootcert` wants.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// For a server that has these names: DNS names and IP addresses.
    ///
    /// # Errors
    ///
    /// When a name is neither, or no key can be made.
    pub fn server(&self, names: &[&str]) -> Result<Pair, Error> {
        self.sign(of_server(names)?)
    }

    /// As [`server`](Self::server), but long expired.
    ///
    /// # Errors
    ///
    /// When a name is neither, or no key can be made.
    pub fn expired_server(&self, names: &[&str]) -> Result<Pair, Error> {
        let mut params = of_server(names)?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
        self.sign(params)
    }

    /// For a client: with the method `cert`, PostgreSQL wants the database user's name.
    ///
    /// # Errors
    ///
    /// When no key can be made.
    pub fn client(&self, common_name: &str) -> Result<Pair, Error> {
        let mut params = named(common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// The list of those that this authority has revoked, as PEM.
    ///
    /// # Errors
    ///
    /// When the list cannot be signed.
    pub fn revoked(&self, pairs: &[&Pair]) -> Result<String, Error> {
        let now = date_time_ymd(2020, 1, 1);
        let revoked = |pair: &&Pair| RevokedCertParams {
            serial_number: pair.serial.clone(),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: date_time_ymd(4096, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: pairs.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        made(made(list.signed_by(&self.issuer))?.pem())
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Pair, Error> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // OpenSSL wants it when it is strict.
        params.use_authority_key_identifier_extension = true;
        let serial = SerialNumber::from(SERIALS.fetch_add(1, Ordering::Relaxed));
        params.serial_number = Some(serial.clone());
        let key = made(KeyPair::generate())?;
        let cert = made(params.signed_by(&key, &self.issuer))?;
        Ok(Pair {
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
            serial,
        })
    }
}

fn of_server(names: &[&str]) -> Result<CertificateParams, Error> {
    let mut params = named(names.first().copied().unwrap_or_default());
    let names = names.iter().map(|&name| name.to_owned());
    // What is an IP address becomes a name of that kind.
    params.subject_alt_names =
        made(CertificateParams::new(names.collect::<Vec<_>>()))?.subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn made<T>(made: Result<T, rcgen::Error>) -> Result<T, Error> {
    made.map_err(|error| Error::new(format!("cannot make a certificate: {error}")))
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").finish_non_exhaustive()
    }
}

impl fmt::Debug for Pair {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}
