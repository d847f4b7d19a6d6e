//! The address of a site, as its server and as browsers know it.

use std::{
    env,
    error::Error,
    net::{SocketAddr, TcpListener},
};

pub(crate) struct Address {
    pub(crate) listener: TcpListener,
    pub(crate) origin: Origin,
    address: SocketAddr,
}

/// Scheme, host and port of a site, as browsers see it.
#[derive(Clone)]
pub(crate) struct Origin(String);

impl Address {
    /// Listens on `LISTEN`, default `127.0.0.1:3000`. Browsers find the site at `ORIGIN`, default `http://` and
    /// that address; behind a proxy with TLS it is, for example, `https://example.org`.
    pub(crate) fn bind() -> Result<Address, Box<dyn Error + Send + Sync>> {
        let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
        let listener = TcpListener::bind(&listen).map_err(|error| {
            format!("cannot listen on {listen}: {error}; set LISTEN to another address")
        })?;
        let address = listener.local_addr()?;
        let origin = env::var("ORIGIN").unwrap_or_else(|_| format!("http://{address}"));
        Ok(Address {
            listener,
            origin: Origin(origin),
            address,
        })
    }

    /// Returns whether cookies must have the attribute `Secure`. Only plain HTTP on this machine goes without,
    /// because Safari does not keep a `Secure` cookie there.
    pub(crate) fn needs_secure_cookies(&self) -> bool {
        !(self.origin.0.starts_with("http://") && self.address.ip().is_loopback())
    }

    pub(crate) fn announce(&self) {
        println!(
            "Listening on {}. Open {}/ in a browser; Ctrl-C stops the program.",
            self.address, self.origin.0
        );
    }
}

/// The body of the page that answers a request of another site.
pub(crate) const OTHER_SITE: &str =
    "<h1>Sorry</h1><p>Another site has sent you.</p><nav><a href=/>Go on</a></nav>";

impl Origin {
    /// Returns whether a page of another site has sent a request with these headers. If it changes something, it must be
    /// rejected (CSRF). It comes without a `SameSite=Lax` cookie, but the response could replace or remove the visitor's
    /// cookie.
    pub(crate) fn is_other(&self, sec_fetch_site: Option<&[u8]>, origin: Option<&[u8]>) -> bool {
        match (sec_fetch_site, origin) {
            (Some(site), _) => site != b"same-origin" && site != b"none",
            // Older browsers send only `Origin`.
            (None, Some(sent)) => sent != self.0.as_bytes(),
            // Programs that are not browsers send neither.
            (None, None) => false,
        }
    }
}
