//! axum, with each version of tower-sessions.

#[cfg(feature = "tower-sessions-0-14")]
mod v0_14;
#[cfg(feature = "tower-sessions")]
mod v0_15;

use axum::Router;
use tokio::{net::TcpListener, runtime::Builder};

use super::Server;

/// Starts a server on a free port.
pub(crate) fn serve(site: Router) -> Server {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async { axum::serve(listener, site).await });
    Server {
        address,
        _stop: Box::new(runtime),
    }
}
