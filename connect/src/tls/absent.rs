//! The replacement for TLS if the feature `tls` is off.

use std::error::Error;

use postgres::Socket;

use super::TlsSettings;

/// Has no values, because there is no TLS.
#[derive(Clone)]
pub(crate) enum Tls {}

impl Tls {
    pub(crate) const IS_AVAILABLE: bool = false;

    pub(crate) fn new(_: &TlsSettings) -> Result<Tls, String> {
        Err("this sslmode needs TLS: turn on the feature `tls` of postgres-connect, or of the crate that uses it".to_owned())
    }

    #[allow(clippy::unused_async, reason = "same signature as with TLS")]
    pub(crate) async fn handshake(
        self,
        _: Socket,
        _: &str,
    ) -> Result<Socket, Box<dyn Error + Send + Sync>> {
        match self {}
    }
}
