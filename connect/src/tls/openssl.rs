//! TLS by OpenSSL. Like libpq, which uses OpenSSL too, it accepts and rejects the same certificates.

use std::{error::Error, fs, path::Path};

use openssl::{
    error::ErrorStack,
    pkey::PKey,
    ssl::{
        self, SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion,
    },
    x509::{
        store::{X509Lookup, X509StoreBuilder},
        verify::X509VerifyFlags,
    },
};
use postgres::{
    Socket,
    tls::{ChannelBinding, TlsConnect},
};
use postgres_openssl::{TlsConnector, TlsStream};

use super::{Identity, Roots, TlsSettings, private};
use crate::{ssl_mode::SslMode, stream::Duplex};

/// OpenSSL's text about a certificate that it rejects.
const UNTRUSTED: &str = "certificate verify failed";

#[derive(Clone)]
pub(crate) struct Tls {
    connector: SslConnector,
    verifies_host: bool,
    sends_name: bool,
}

impl Tls {
    pub(crate) const IS_AVAILABLE: bool = true;

    /// Reads the files again, because they may have changed since the last connection.
    pub(crate) fn new(options: &TlsSettings) -> Result<Tls, String> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())
            .and_then(|mut builder| {
                builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
                Ok(builder)
            })
            .map_err(|e| format!("TLS cannot be set up: {}", reasons(&e)))?;
        trust(&mut builder, options)?;
        if let Some(identity) = &options.identity {
            identify(&mut builder, identity)?;
        }
        Ok(Tls {
            connector: builder.build(),
            verifies_host: options.mode == SslMode::VerifyFull,
            sends_name: options.sends_name,
        })
    }

    pub(crate) async fn handshake(
        self,
        socket: Socket,
        host: &str,
    ) -> Result<TlsStream<Socket>, Box<dyn Error + Send + Sync>> {
        let mut connection = self.connector.configure()?;
        connection.set_verify_hostname(self.verifies_host);
        connection.set_use_server_name_indication(self.sends_name);
        let connected = TlsConnector::new(connection, host).connect(socket).await;
        connected.map_err(explain)
    }
}

impl Duplex for TlsStream<Socket> {
    fn channel_binding(&self) -> ChannelBinding {
        postgres::tls::TlsStream::channel_binding(self)
    }
}

fn trust(builder: &mut SslConnectorBuilder, options: &TlsSettings) -> Result<(), String> {
    let file = match &options.roots {
        Roots::None => {
            builder.set_verify(SslVerifyMode::NONE);
            return Ok(());
        }
        Roots::System => return Ok(()),
        Roots::File(file) => file,
    };
    read("root certificates", file, |_| {
        // By default the builder trusts the system's authorities.
        builder.set_cert_store(X509StoreBuilder::new()?.build());
        builder.set_ca_file(file)
    })?;
    let Some(revoked) = &options.revoked else {
        return Ok(());
    };
    read("revoked certificates", revoked, |_| {
        let store = builder.cert_store_mut();
        store.set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)?;
        let lookup = store.add_lookup(X509Lookup::file())?;
        lookup.load_crl_file(revoked, SslFiletype::PEM).map(drop)
    })
}

fn identify(builder: &mut SslConnectorBuilder, identity: &Identity) -> Result<(), String> {
    let certificate = &identity.certificate;
    read("the client's certificate", certificate, |_| {
        builder.set_certificate_chain_file(certificate)
    })?;
    private(&identity.key)?;
    read("the client's key", &identity.key, |pem| {
        // Without a password OpenSSL asks for one on the terminal.
        let password = identity.key_password.as_deref().unwrap_or_default();
        let key = PKey::private_key_from_pem_passphrase(&pem, password.as_bytes())?;
        builder.set_private_key(&key)
    })
}

/// Gives the content of a file to OpenSSL, and names the file in errors.
fn read(
    what: &str,
    file: &Path,
    give: impl FnOnce(Vec<u8>) -> Result<(), ErrorStack>,
) -> Result<(), String> {
    let wrong = |why: String| format!("{what} cannot be read from {}: {why}", file.display());
    let content = fs::read(file).map_err(|e| wrong(e.to_string()))?;
    give(content).map_err(|e| wrong(reasons(&e)))
}

/// The reasons without their locations in the source of OpenSSL.
fn reasons(errors: &ErrorStack) -> String {
    let reasons: Vec<_> = errors.errors().iter().filter_map(|e| e.reason()).collect();
    reasons.join(", ")
}

/// Makes the text of a handshake error shorter.
fn explain(error: Box<dyn Error + Send + Sync>) -> Box<dyn Error + Send + Sync> {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    let Some(errors) = cause.and_then(ssl::Error::ssl_error) else {
        return error;
    };
    let reasons = reasons(errors);
    if reasons == UNTRUSTED {
        let text = error.to_string();
        let why = text.rsplit(": ").next().unwrap_or_default();
        return format!("{UNTRUSTED}: {why}").into();
    }
    reasons.into()
}
