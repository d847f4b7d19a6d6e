//! A web server that rejects requests of other sites and stops gracefully.

use std::{
    env,
    error::Error,
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
};
use tokio::signal::unix::{SignalKind, signal};

use super::page::{add_headers, page};

/// How long requests may take after the program was told to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    /// Scheme, host and port of the site, as browsers see it.
    origin: String,
}

impl Server {
    /// Listens on `LISTEN`, default `127.0.0.1:3000`. Browsers find the site at `ORIGIN`, default `http://` and
    /// that address; behind a proxy with TLS it is, for example, `https://example.org`.
    pub(crate) fn bind() -> Result<Server, Box<dyn Error + Send + Sync>> {
        let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
        let listener = TcpListener::bind(&listen).map_err(|error| {
            format!("cannot listen on {listen}: {error}; set LISTEN to another address")
        })?;
        let address = listener.local_addr()?;
        let origin = env::var("ORIGIN").unwrap_or_else(|_| format!("http://{address}"));
        Ok(Server {
            listener,
            address,
            origin,
        })
    }

    /// Returns whether cookies must have the attribute `Secure`. Only plain HTTP on this machine goes without,
    /// because Safari does not keep a `Secure` cookie there.
    pub(crate) fn needs_secure_cookies(&self) -> bool {
        !(self.origin.starts_with("http://") && self.address.ip().is_loopback())
    }

    /// Serves the site until Ctrl-C or `kill`.
    pub(crate) async fn serve(self, site: Router) -> io::Result<()> {
        let site = site
            .layer(from_fn_with_state(self.origin.clone(), reject_other_sites))
            .layer(map_response(add_headers));
        self.listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let (stop, stopping) = (stop_signal()?, stop_signal()?);
        println!(
            "Listening on {}. Open {}/ in a browser; Ctrl-C stops the program.",
            self.address, self.origin
        );
        let serve = axum::serve(listener, site).with_graceful_shutdown(stop);
        let timeout = async {
            stopping.await;
            tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
        };
        tokio::select! {
            served = serve.into_future() => served?,
            // A client that never finishes its request must not keep the program running.
            () = timeout => {}
        }
        println!("Stopped.");
        Ok(())
    }
}

/// The signals are caught from this call on, not from the first poll of the future.
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Rejects changes that a page of another site requests (CSRF). Such requests come without a `SameSite=Lax`
/// cookie, but the response could replace or remove the visitor's cookie.
async fn reject_other_sites(
    State(origin): State<String>,
    request: Request,
    next: Next,
) -> Response {
    if request.method().is_safe() || is_same_origin(&origin, request.headers()) {
        return next.run(request).await;
    }
    let body = "<h1>Sorry</h1><p>Another site has sent you.</p><nav><a href=/>Go on</a></nav>";
    (StatusCode::FORBIDDEN, page("Sorry", body)).into_response()
}

fn is_same_origin(origin: &str, headers: &HeaderMap) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin" || site == "none",
        // Older browsers send only `Origin`.
        (None, Some(sent)) => sent == origin,
        // Programs that are not browsers send neither.
        (None, None) => true,
    }
}
