//! Files in PEM. A section that OpenSSL reads and rustls does not is an error.

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{Error, PemObject},
};

/// Formats of certificates that only OpenSSL knows.
const OF_OPENSSL: [&str; 2] = ["TRUSTED CERTIFICATE", "X509 CERTIFICATE"];

pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if let Some(label) = OF_OPENSSL.iter().find(|label| has(pem, label)) {
        return Err(format!(
            "it has a section `{label}`, which rustls does not read: convert it with `openssl x509`, or use the \
             feature `tls`"
        ));
    }
    sections(pem, "CERTIFICATE")
}

pub(super) fn revocation_lists(
    pem: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    sections(pem, "X509 CRL")
}

pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if has(pem, "ENCRYPTED PRIVATE KEY") || lines(pem).any(|line| line == b"Proc-Type: 4,ENCRYPTED")
    {
        return Err(
            "it is encrypted, which rustls does not support: decrypt it with `openssl pkey`, or use the feature \
             `tls`, which decrypts it with sslpassword"
                .to_owned(),
        );
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|e| match e {
        Error::NoItemsFound => {
            "it has no section `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY`".to_owned()
        }
        // The other errors may quote the file.
        _ => "it is not valid PEM".to_owned(),
    })
}

/// All sections of a type, at least one.
fn sections<T: PemObject>(pem: &[u8], label: &str) -> Result<Vec<T>, String> {
    let all: Result<Vec<T>, _> = T::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(format!("it has no section `{label}`")),
        Ok(all) => Ok(all),
        Err(e) => Err(format!("it is not valid PEM: {e}")),
    }
}

fn has(pem: &[u8], label: &str) -> bool {
    let begin = format!("-----BEGIN {label}-----");
    lines(pem).any(|line| line == begin.as_bytes())
}

fn lines(pem: &[u8]) -> impl Iterator<Item = &[u8]> {
    pem.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_encrypted_key_is_an_error_that_says_how_to_decrypt_it() {
        let of_pkcs8 = "-----BEGIN ENCRYPTED PRIVATE KEY-----\r\nAAAA\r\n-----END ENCRYPTED PRIVATE KEY-----\r\n";
        let traditional = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                           DEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
        for pem in [of_pkcs8, traditional] {
            let error = key(pem.as_bytes()).unwrap_err();
            assert!(error.contains("`openssl pkey`"), "{error}");
        }
        let error = key(b"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n");
        assert!(error.unwrap_err().contains("no section"));
    }
}
