//! Whether a connection uses TLS.

use std::{fmt, str::FromStr};

use crate::error::Error;

/// Whether a TCP connection uses TLS, and how the server's certificate is checked.
///
/// A Unix socket never uses TLS. The modes from [`Require`](Self::Require) on need the feature `tls` (OpenSSL) or
/// `rustls`. Without a feature they are rejected, and the other modes connect without TLS.
///
/// # Examples
///
/// ```
/// use postgres_connect::SslMode;
///
/// let mode: SslMode = "verify-full".parse()?;
/// assert_eq!(mode, SslMode::VerifyFull);
/// assert_eq!(mode.to_string(), "verify-full");
/// # Ok::<(), postgres_connect::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never uses TLS.
    Disable,
    /// Uses TLS only if the server rejects a connection without it.
    Allow,
    /// Uses TLS if the server supports it.
    Prefer,
    /// Uses TLS and accepts any certificate. If there are root certificates, the same as
    /// [`VerifyCa`](Self::VerifyCa).
    Require,
    /// Uses TLS and checks that a trusted authority has signed the server's certificate.
    VerifyCa,
    /// Like [`VerifyCa`](Self::VerifyCa), and checks that the certificate was issued for the server's host.
    /// Only this mode prevents man-in-the-middle attacks.
    VerifyFull,
}

impl SslMode {
    const ALL: [SslMode; 6] = [
        SslMode::Disable,
        SslMode::Allow,
        SslMode::Prefer,
        SslMode::Require,
        SslMode::VerifyCa,
        SslMode::VerifyFull,
    ];

    /// Whether a connection without TLS is acceptable.
    pub(crate) fn allows_plain(self) -> bool {
        self <= SslMode::Prefer
    }
}

/// The name that libpq uses.
impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        })
    }
}

impl FromStr for SslMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = SslMode::ALL
            .into_iter()
            .find(|mode| mode.to_string() == text);
        named.ok_or_else(|| {
            let names = SslMode::ALL.map(|mode| mode.to_string()).join(", ");
            Error::invalid_option(format!("sslmode is none of {names}"))
        })
    }
}
