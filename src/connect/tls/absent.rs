//! In the place of TLS, where the crate is built without it.

use std::error::Error;

use postgres::Socket;

use super::TlsOptions;

/// There is none.
#[derive(Clone)]
pub(in crate::connect) enum Tls {}

impl Tls {
    pub(in crate::connect) const IS_THERE: bool = false;

    pub(in crate::connect) fn new(_: &TlsOptions) -> Result<Tls, String> {
        Err("this program is built without TLS: give session-postgres the feature `tls`".to_owned())
    }

    #[allow(clippy::unused_async, reason = "as with TLS")]
    pub(in crate::connect) async fn shake_hands(
        self,
        _: Socket,
        _: &str,
    ) -> Result<Socket, Box<dyn Error + Send + Sync>> {
        match self {}
    }
}
