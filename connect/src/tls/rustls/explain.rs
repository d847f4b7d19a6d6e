//! Texts for the errors of rustls, in the words of OpenSSL where it has the same error.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, Error};

/// For a key or signature of a certificate.
const UNSUPPORTED: &str = "rustls does not support all keys and signatures, for example not P-521, SHA-1, or RSA with less \
     than 2048 bits; have another certificate issued, or use the feature `tls`";

/// The error of a handshake. It is only an [`io::Error`] if the network has failed.
pub(super) fn handshake(e: io::Error, host: &str) -> Box<dyn StdError + Send + Sync> {
    let cause = e.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidCertificate(why)) => {
            format!("certificate verify failed: {}", certificate(why)).into()
        }
        Some(Error::AlertReceived(AlertDescription::HandshakeFailure)) => format!(
            "the server and rustls have no algorithm in common: {UNSUPPORTED}"
        )
        .into(),
        Some(error) => error.to_string().into(),
        None if e.kind() == io::ErrorKind::InvalidInput => format!(
            "{host:?} is not a valid DNS name, which rustls needs: use another name of the server in `host` and \
             its address in `hostaddr`, or the feature `tls`"
        )
        .into(),
        None => e.into(),
    }
}

/// The error of the client's certificate and key.
pub(super) fn identity(e: &Error) -> String {
    let why = match e {
        Error::InconsistentKeys(_) => "key values mismatch".to_owned(),
        e => error(e),
    };
    format!("the client's certificate and key cannot be used: {why}")
}

pub(super) fn error(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate(why),
        error => error.to_string(),
    }
}

fn certificate(why: &CertificateError) -> String {
    let text = match why {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "hostname mismatch: it has no subject alternative name, and rustls ignores the name in CN; have a \
             certificate issued that has one, or use the feature `tls`"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "hostname mismatch"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired"
        }
        CertificateError::Revoked => "certificate revoked",
        CertificateError::UnknownIssuer => "no root certificate that is valid now has signed it",
        CertificateError::UnknownRevocationStatus => "sslcrl has no list of its issuer",
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => "CRL has expired",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => UNSUPPORTED,
        other => return unsupported(&other.to_string()),
    };
    text.to_owned()
}

/// Certificates that OpenSSL accepts. rustls has no constants for these errors.
fn unsupported(text: &str) -> String {
    let advice = if text.contains("CaUsedAsEndEntity") {
        "it is the certificate of an authority, which rustls does not accept for a server: have the authority \
         issue another one for the server, without `CA:TRUE`, or use the feature `tls`"
    } else if text.contains("UnsupportedCertVersion") {
        "it is of X.509 version 1, and rustls accepts only version 3: have it issued with extensions, such as a \
         subject alternative name, or use the feature `tls`"
    } else {
        return text.to_owned();
    };
    advice.to_owned()
}
