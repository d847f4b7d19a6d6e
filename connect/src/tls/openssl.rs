//! TLS by OpenSSL. Like libpq, which uses OpenSSL too, it accepts and rejects the same certificates.

use std::{error::Error, net::IpAddr, pin::Pin};

use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::PKey,
    ssl::{
        self, Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode as Behavior,
        SslOptions, SslVerifyMode, SslVersion,
    },
    x509::{
        X509VerifyResult,
        store::X509Lookup,
        verify::{X509CheckFlags, X509VerifyFlags},
    },
};
use postgres::{Socket, tls::ChannelBinding};
use tokio::io::BufReader;
use tokio_openssl::SslStream;

use super::{
    Roots, TlsSettings,
    files::{CERTIFICATE, Files, KEY, REVOKED, ROOTS, unreadable},
};
use crate::{ssl_mode::SslMode, stream::Duplex};

/// The ciphers of the crate openssl, which has them from Python.
const CIPHERS: &str = "DEFAULT:!aNULL:!eNULL:!MD5:!3DES:!DES:!RC4:!IDEA:!SEED:!aDSS:!SRP:!PSK";

#[derive(Clone)]
pub(crate) struct Tls {
    context: SslContext,
    verifies_host: bool,
    sends_name: bool,
}

/// Reads a few bytes at a time, as OpenSSL asks for them, with few system calls.
type Stream = SslStream<BufReader<Socket>>;

impl Tls {
    pub(crate) const IS_AVAILABLE: bool = true;

    pub(super) fn new(options: &TlsSettings, files: &Files) -> Result<Tls, String> {
        let mut builder =
            builder().map_err(|e| format!("TLS cannot be set up: {}", reasons(&e)))?;
        trust(&mut builder, options)?;
        identify(&mut builder, options, files)?;
        Ok(Tls {
            context: builder.build(),
            verifies_host: options.mode == SslMode::VerifyFull,
            sends_name: options.sends_name,
        })
    }

    /// OpenSSL checks the dates of root certificates at each handshake.
    #[allow(clippy::unused_self, reason = "same signature as with rustls")]
    pub(super) fn is_current(&self) -> bool {
        true
    }

    pub(crate) async fn handshake(
        self,
        socket: Socket,
        host: &str,
    ) -> Result<Stream, Box<dyn Error + Send + Sync>> {
        let ssl = self.connection(host)?;
        let mut stream = SslStream::new(ssl, BufReader::new(socket))?;
        match Pin::new(&mut stream).connect().await {
            Ok(()) => Ok(stream),
            Err(error) => Err(explain(error, stream.ssl().verify_result())),
        }
    }

    #[cfg(test)]
    pub(super) fn is_same_as(&self, other: &Tls) -> bool {
        std::ptr::eq(&*self.context, &*other.context)
    }

    fn connection(&self, host: &str) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        let address = host.parse::<IpAddr>();
        if self.sends_name && address.is_err() {
            ssl.set_hostname(host)?;
        }
        if self.verifies_host {
            let checks = ssl.param_mut();
            checks.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match address {
                Ok(address) => checks.set_ip(address)?,
                Err(_) => checks.set_host(host)?,
            }
        }
        Ok(ssl)
    }
}

impl Duplex for Stream {
    /// The hash of the server's certificate (RFC 5929, `tls-server-end-point`).
    fn channel_binding(&self) -> ChannelBinding {
        let hash = || {
            let certificate = self.ssl().peer_certificate()?;
            let signature = certificate.signature_algorithm().object().nid();
            let digest = match signature.signature_algorithms()?.digest {
                Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
                digest => MessageDigest::from_nid(digest)?,
            };
            certificate.digest(digest).ok()
        };
        match hash() {
            Some(hash) => ChannelBinding::tls_server_end_point(hash.to_vec()),
            None => ChannelBinding::none(),
        }
    }
}

/// Not an `SslConnector`, because that always reads the certificates of the system.
fn builder() -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_options(SslOptions::ALL | SslOptions::NO_COMPRESSION);
    builder.set_mode(
        // A task that waits may write from another buffer when it goes on.
        Behavior::ACCEPT_MOVING_WRITE_BUFFER
            | Behavior::ENABLE_PARTIAL_WRITE
            | Behavior::AUTO_RETRY
            | Behavior::RELEASE_BUFFERS,
    );
    builder.set_verify(SslVerifyMode::PEER);
    Ok(builder)
}

fn trust(builder: &mut SslContextBuilder, options: &TlsSettings) -> Result<(), String> {
    let file = match &options.roots {
        Roots::None => {
            builder.set_verify(SslVerifyMode::NONE);
            return Ok(());
        }
        Roots::System => {
            return builder
                .set_default_verify_paths()
                .map_err(|e| format!("the system's {ROOTS} cannot be read: {}", reasons(&e)));
        }
        Roots::File(file) => file,
    };
    // OpenSSL reads the file itself, because only then it accepts all its formats.
    builder
        .set_ca_file(file)
        .map_err(|e| unreadable(ROOTS, file, &reasons(&e)))?;
    let Some(revoked) = &options.revoked else {
        return Ok(());
    };
    let store = builder.cert_store_mut();
    store
        .set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)
        .and_then(|()| store.add_lookup(X509Lookup::file()))
        .and_then(|lookup| lookup.load_crl_file(revoked, SslFiletype::PEM))
        .map_err(|e| unreadable(REVOKED, revoked, &reasons(&e)))?;
    Ok(())
}

fn identify(
    builder: &mut SslContextBuilder,
    options: &TlsSettings,
    files: &Files,
) -> Result<(), String> {
    let (Some(identity), Some(key)) = (&options.identity, &files.key) else {
        return Ok(());
    };
    builder
        .set_certificate_chain_file(&identity.certificate)
        .map_err(|e| unreadable(CERTIFICATE, &identity.certificate, &reasons(&e)))?;
    // Without a password OpenSSL asks for one on the terminal.
    let password = identity.key_password.as_deref().unwrap_or_default();
    PKey::private_key_from_pem_passphrase(key, password.as_bytes())
        .and_then(|key| builder.set_private_key(&key))
        .map_err(|e| unreadable(KEY, &identity.key, &reasons(&e)))
}

/// The reasons without their locations in the source of OpenSSL.
fn reasons(errors: &ErrorStack) -> String {
    let reasons: Vec<_> = errors.errors().iter().filter_map(|e| e.reason()).collect();
    reasons.join(", ")
}

/// Makes the text of a handshake error shorter.
fn explain(error: ssl::Error, verified: X509VerifyResult) -> Box<dyn Error + Send + Sync> {
    let Some(errors) = error.ssl_error() else {
        return error.into();
    };
    let reasons = reasons(errors);
    if reasons == "certificate verify failed" {
        return format!("{reasons}: {verified}").into();
    }
    reasons.into()
}
