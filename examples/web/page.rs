//! The layout of all pages, and the headers of all responses.

use axum::{
    http::header,
    response::{Html, IntoResponse, Response},
};

const STYLE: &str = include_str!("style.css");

/// Both arguments are HTML. Text that a visitor entered must be escaped first.
pub(crate) fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>
        <meta name=viewport content='width=device-width'><style>{STYLE}</style><main>{body}</main>"
    ))
}

/// Each page is for one visitor, so it must not be cached. The pages load nothing and run no scripts.
pub(super) async fn add_headers(response: Response) -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                  frame-ancestors 'none'; base-uri 'none'";
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, response)
}
