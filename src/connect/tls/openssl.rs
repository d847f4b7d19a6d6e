//! TLS by OpenSSL, as libpq has it: the same certificates are good, and the same are refused.

use std::{error::Error, fs, path::Path};

use openssl::{
    pkey::PKey,
    ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion},
    x509::{
        store::{X509Lookup, X509StoreBuilder},
        verify::X509VerifyFlags,
    },
};
use postgres::{
    Socket,
    tls::{ChannelBinding, TlsConnect},
};
use postgres_openssl::{TlsConnector, TlsStream, set_postgresql_alpn};

use super::{Identity, Roots, TlsOptions, private};
use crate::connect::{options::SslMode, wire::Duplex};

/// How connections to one host are encrypted, and whom they trust.
#[derive(Clone)]
pub(in crate::connect) struct Tls {
    connector: SslConnector,
    has_to_be_named: bool,
    sends_name: bool,
    begins_at_once: bool,
}

impl Tls {
    pub(in crate::connect) const IS_THERE: bool = true;

    /// Reads the files, so that each connection has them as they are by then.
    pub(in crate::connect) fn new(options: &TlsOptions) -> Result<Tls, String> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())
            .and_then(|mut builder| {
                builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
                if options.begins_at_once {
                    set_postgresql_alpn(&mut builder)?;
                }
                Ok(builder)
            })
            .map_err(|e| format!("TLS cannot be set up: {e}"))?;
        trust(&mut builder, options)?;
        if let Some(identity) = &options.identity {
            identify(&mut builder, identity)?;
        }
        Ok(Tls {
            connector: builder.build(),
            has_to_be_named: options.mode == SslMode::VerifyFull,
            sends_name: options.sends_name,
            begins_at_once: options.begins_at_once,
        })
    }

    pub(in crate::connect) fn begins_at_once(&self) -> bool {
        self.begins_at_once
    }

    pub(in crate::connect) async fn shake_hands(
        self,
        socket: Socket,
        host: &str,
    ) -> Result<TlsStream<Socket>, Box<dyn Error + Send + Sync>> {
        let mut connection = self.connector.configure()?;
        connection.set_verify_hostname(self.has_to_be_named);
        connection.set_use_server_name_indication(self.sends_name);
        TlsConnector::new(connection, host).connect(socket).await
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
    // The builder comes with the system's certificates, which are not asked for.
    X509StoreBuilder::new()
        .map(|none| builder.set_cert_store(none.build()))
        .and_then(|()| builder.set_ca_file(file))
        .map_err(|e| unreadable("root certificates", file, &e))?;
    let Some(revoked) = &options.revoked else {
        return Ok(());
    };
    let store = builder.cert_store_mut();
    store
        .set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL)
        .and_then(|()| {
            let lookup = store.add_lookup(X509Lookup::file())?;
            lookup.load_crl_file(revoked, SslFiletype::PEM)
        })
        .map_err(|e| unreadable("revoked certificates", revoked, &e))?;
    Ok(())
}

fn identify(builder: &mut SslConnectorBuilder, identity: &Identity) -> Result<(), String> {
    builder
        .set_certificate_chain_file(&identity.certificate)
        .map_err(|e| unreadable("the client's certificate", &identity.certificate, &e))?;
    private(&identity.key)?;
    let pem =
        fs::read(&identity.key).map_err(|e| unreadable("the client's key", &identity.key, &e))?;
    let password = identity.key_password.as_deref().unwrap_or_default();
    // Without a password OpenSSL would ask for one at the terminal.
    PKey::private_key_from_pem_passphrase(&pem, password.as_bytes())
        .and_then(|key| builder.set_private_key(&key))
        .map_err(|e| unreadable("the client's key", &identity.key, &e))
}

fn unreadable(what: &str, file: &Path, error: &dyn Error) -> String {
    format!("{what} cannot be read from {}: {error}", file.display())
}
