//! The replacement for TLS if the features `tls` and `rustls` are off.

use std::error::Error;

use postgres::Socket;

use super::TlsSettings;

/// Has no values, because there is no TLS.
#[derive(Clone)]
pub(crate) enum Tls {}

impl Tls {
    pub(crate) const IS_AVAILABLE: bool = false;

    #[allow(clippy::unused_async, reason = "same signature as with TLS")]
    pub(crate) async fn handshake(
        self,
        _: Socket,
        _: &str,
    ) -> Result<Socket, Box<dyn Error + Send + Sync>> {
        match self {}
    }
}

#[derive(Default)]
pub(crate) struct LastTls;

impl LastTls {
    #[allow(clippy::unused_self, reason = "same signature as with TLS")]
    pub(crate) fn get(&self, _: &TlsSettings) -> Result<Tls, String> {
        Err("this sslmode needs TLS: turn on the feature `tls` (OpenSSL) or `rustls` of postgres-connect, or of the crate \
             that uses it".to_owned())
    }
}
