//! TLS by rustls. It does less than OpenSSL, and what it cannot do is an error.

mod explain;
mod pem;
mod roots;
mod stream;
mod verifier;

use std::{error::Error, io, sync::Arc, time::SystemTime};

use postgres::{
    Socket,
    tls::{MakeTlsConnect, TlsConnect},
};
use rustls::{
    ClientConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::{
    roots::Valid,
    stream::Stream,
    verifier::{Trust, Verifier},
};
use super::{
    Roots, TlsSettings,
    files::{CERTIFICATE, Files, KEY, REVOKED, ROOTS, unreadable},
};
use crate::ssl_mode::SslMode;

#[derive(Clone)]
pub(crate) struct Tls(Arc<Made>);

struct Made {
    make: MakeRustlsConnect,
    /// Until when connections can share it, because they trust the same root certificates.
    until: Option<SystemTime>,
}

impl Tls {
    pub(crate) const IS_AVAILABLE: bool = true;

    pub(super) fn new(options: &TlsSettings, files: &Files) -> Result<Tls, String> {
        let provider = Arc::new(ring::default_provider());
        let (trust, until) = trust(options, files, &provider)?;
        let verifier = Verifier {
            trust,
            checks_name: options.mode == SslMode::VerifyFull,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS cannot be set up: {e}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity(options, files)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| explain::identity(&e))?,
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = options.sends_name;
        // PostgreSQL resumes no TLS sessions.
        config.resumption = Resumption::disabled();
        let make = MakeRustlsConnect::new(config);
        Ok(Tls(Arc::new(Made { make, until })))
    }

    /// Whether a new connection trusts the same root certificates.
    pub(super) fn is_current(&self) -> bool {
        self.0.until.is_none_or(|until| SystemTime::now() < until)
    }

    pub(crate) async fn handshake(
        self,
        socket: Socket,
        host: &str,
    ) -> Result<Stream, Box<dyn Error + Send + Sync>> {
        let mut make = self.0.make.clone();
        let connect = MakeTlsConnect::<Socket>::make_tls_connect(&mut make, host)?;
        let connected: Result<_, io::Error> = connect.connect(socket).await;
        connected
            .map(Stream)
            .map_err(|e| explain::handshake(e, host))
    }

    #[cfg(test)]
    pub(super) fn is_same_as(&self, other: &Tls) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The certificates to trust, and until when.
fn trust(
    options: &TlsSettings,
    files: &Files,
    provider: &Arc<CryptoProvider>,
) -> Result<(Trust, Option<SystemTime>), String> {
    let now = SystemTime::now();
    let Valid { store, until } = match (&options.roots, &files.roots) {
        (Roots::File(file), Some(content)) => {
            Valid::in_file(content, now).map_err(|why| unreadable(ROOTS, file, &why))?
        }
        (Roots::System, _) => Valid::of_system(now)?,
        _ => return Ok((Trust::All, None)),
    };
    if store.is_empty() {
        return Ok((Trust::None, until));
    }
    let mut builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    let wrong = |why: String| match &options.revoked {
        Some(file) => unreadable(REVOKED, file, &why),
        None => why,
    };
    if let Some(content) = &files.revoked {
        let lists = pem::revocation_lists(content).map_err(wrong)?;
        // As with OpenSSL, an outdated list is an error.
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    let verifier = builder.build().map_err(|e| wrong(e.to_string()))?;
    Ok((Trust::SignedBy(verifier), until))
}

/// The certificate of the client with those of its issuers, and the key.
fn identity(
    options: &TlsSettings,
    files: &Files,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, String> {
    let (Some(identity), Some(certificate), Some(key)) =
        (&options.identity, &files.certificate, &files.key)
    else {
        return Ok(None);
    };
    let chain = pem::certificates(certificate)
        .map_err(|why| unreadable(CERTIFICATE, &identity.certificate, &why))?;
    let key = pem::key(key).map_err(|why| unreadable(KEY, &identity.key, &why))?;
    Ok(Some((chain, key)))
}
