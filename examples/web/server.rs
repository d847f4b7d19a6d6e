//! A web server with axum that rejects requests of other sites and stops gracefully.

use std::io;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::{Next, from_fn_with_state, map_response},
    response::{Html, IntoResponse, Response},
};

use super::{
    address::{Address, OTHER_SITE, Origin},
    page::{HEADERS, page},
    stop::{SHUTDOWN_TIMEOUT, stop_signal},
};

/// Serves the site until Ctrl-C or `kill`.
pub(crate) async fn serve(address: Address, site: Router) -> io::Result<()> {
    let site = site
        .layer(from_fn_with_state(
            address.origin.clone(),
            reject_other_sites,
        ))
        .layer(map_response(async |response: Response| (HEADERS, response)));
    let (stop, stopping) = (stop_signal()?, stop_signal()?);
    address.announce();
    address.listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(address.listener)?;
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

async fn reject_other_sites(
    State(origin): State<Origin>,
    request: Request,
    next: Next,
) -> Response {
    if !request.method().is_safe() && is_from_other_site(&origin, request.headers()) {
        return (StatusCode::FORBIDDEN, Html(page("Sorry", OTHER_SITE))).into_response();
    }
    next.run(request).await
}

fn is_from_other_site(origin: &Origin, headers: &HeaderMap) -> bool {
    let value = |name| headers.get(name).map(HeaderValue::as_bytes);
    origin.is_other(value("sec-fetch-site"), value("origin"))
}
