//! The layout of all pages, and the headers of all responses.

const STYLE: &str = include_str!("style.css");

/// Each page is for one visitor, so it must not be cached. The pages load nothing and run no scripts.
pub(crate) const HEADERS: [(&str, &str); 2] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
];

/// Both arguments are HTML. Text that a visitor entered must be escaped first.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>
        <meta name=viewport content='width=device-width'><style>{STYLE}</style><main>{body}</main>"
    )
}
