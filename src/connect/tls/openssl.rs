//! TLS by OpenSSL, as libpq has it: the same certificates are good, and the same are refused.

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

use super::{Identity, Roots, TlsOptions, private};
use crate::connect::{options::SslMode, wire::Duplex};

/// What OpenSSL says of a certificate that it does not take.
const UNTRUSTED: &str = "certificate verify failed";

/// How connections to one host are encrypted, and whom they trust.
#[derive(Clone)]
pub(in crate::connect) struct Tls {
    connector: SslConnector,
    has_to_be_named: bool,
    sends_name: bool,
}

impl Tls {
    pub(in crate::connect) const IS_THERE: bool = true;

    /// Reads the files, so that each connection has them as they are by then.
    pub(in crate::connect) fn new(options: &TlsOptions) -> Result<Tls, String> {
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
            has_to_be_named: options.mode == SslMode::VerifyFull,
            sends_name: options.sends_name,
        })
    }

    pub(in crate::connect) async fn shake_hands(
        self,
        socket: Socket,
        host: &str,
    ) -> Result<TlsStream<Socket>, Box<dyn Error + Send + Sync>> {
        let mut connection = self.connector.configure()?;
        connection.set_verify_hostname(self.has_to_be_named);
        connection.set_use_server_name_indication(self.sends_name);
        let shaken = TlsConnector::new(connection, host).connect(socket).await;
        shaken.map_err(explain)
    }
}

impl Duplex for TlsStream<Socket> {
    fn channel_binding(&self) -> ChannelBinding {
        postgres::tls::TlsStream::channel_binding(self)
    }
}

fn trust(builder: &mut SslConnectorBuilder, options: &TlsOptions) -> Result<(), String> {
    let file = match &options.roots {
        Roots::Nobodys => {
            builder.set_verify(SslVerifyMode::NONE);
            return Ok(());
        }
        Roots::Systems => return Ok(()),
        Roots::File(file) => file,
    };
    read("root certificates", file, |_| {
        // The builder comes with the system's certificates, which are not asked for.
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
        // Without a password OpenSSL would ask for one at the terminal.
        let password = identity.key_password.as_deref().unwrap_or_default();
        let key = PKey::private_key_from_pem_passphrase(&pem, password.as_bytes())?;
        builder.set_private_key(&key)
    })
}

/// Lets OpenSSL have a file's content, or read it itself.
fn read(
    what: &str,
    file: &Path,
    give: impl FnOnce(Vec<u8>) -> Result<(), ErrorStack>,
) -> Result<(), String> {
    let wrong = |why: String| format!("{what} cannot be read from {}: {why}", file.display());
    let content = fs::read(file).map_err(|e| wrong(e.to_string()))?;
    give(content).map_err(|e| wrong(reasons(&e)))
}

/// What is wrong, without where in OpenSSL that was found.
fn reasons(errors: &ErrorStack) -> String {
    let reasons: Vec<_> = errors.errors().iter().filter_map(|e| e.reason()).collect();
    reasons.join(", ")
}

/// Why the two sides did not come to terms.
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
