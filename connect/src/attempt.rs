//! One attempt to connect to one address, and why it failed.

use std::{error::Error as _, fmt, io};

use postgres::error::SqlState;

use crate::{advice::advice, error::describe};

/// A failed attempt at one address.
pub(crate) struct Attempt {
    address: String,
    error: AttemptError,
}

impl Attempt {
    pub(crate) fn new(address: String, error: AttemptError) -> Attempt {
        Attempt { address, error }
    }

    pub(crate) fn code(&self) -> Option<&SqlState> {
        self.error.code()
    }

    /// Whether the server rejected the user or the password.
    pub(crate) fn is_rejected(&self) -> bool {
        self.code()
            .is_some_and(|code| code.code().starts_with("28"))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}: {}", self.address, self.error.text)?;
        match &self.error.advice {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

/// Why an attempt failed.
pub(crate) struct AttemptError {
    cause: Cause,
    text: String,
    advice: Option<String>,
}

enum Cause {
    /// The server answered with an error.
    Server(SqlState),
    /// TLS could not be set up.
    Tls,
    /// The server does not have the role that `target_session_attrs` asks for.
    Role,
    /// No server answered.
    Network,
}

/// The origin of the password.
pub(crate) enum PasswordOrigin {
    Place(String),
    /// There is none. If a password file was ignored, the reason.
    Nowhere(Option<String>),
}

impl AttemptError {
    pub(crate) fn of_driver(error: &postgres::Error, origin: &PasswordOrigin) -> AttemptError {
        let text = describe(error);
        let advice = advice(error, &text, origin);
        let (cause, text) = match error.code() {
            Some(code) => (
                Cause::Server(code.clone()),
                format!("{text} (SQLSTATE {})", code.code()),
            ),
            None if is_of_tls(error) => (Cause::Tls, text),
            None => {
                // The driver reports every error of our stream as one of the TLS handshake.
                let plain = text.strip_prefix("error performing TLS handshake: ");
                (Cause::Network, plain.unwrap_or(&text).to_owned())
            }
        };
        AttemptError {
            cause,
            text,
            advice,
        }
    }

    pub(crate) fn of_lookup(error: &io::Error) -> AttemptError {
        AttemptError {
            cause: Cause::Network,
            text: format!("the host name cannot be resolved: {error}"),
            advice: Some("check its spelling and the DNS of this machine".to_owned()),
        }
    }

    pub(crate) fn of_role(what: &str) -> AttemptError {
        AttemptError {
            cause: Cause::Role,
            text: format!("{what}, which target_session_attrs excludes"),
            advice: Some("list in `host` every server that may have the role".to_owned()),
        }
    }

    /// TLS cannot be set up on this side.
    pub(crate) fn of_tls(text: String) -> AttemptError {
        AttemptError {
            cause: Cause::Tls,
            text,
            advice: None,
        }
    }

    fn code(&self) -> Option<&SqlState> {
        match &self.cause {
            Cause::Server(code) => Some(code),
            _ => None,
        }
    }

    /// Whether an attempt with TLS instead of without, or the reverse, may succeed.
    pub(crate) fn may_depend_on_tls(&self) -> bool {
        matches!(self.cause, Cause::Server(_) | Cause::Tls)
    }
}

/// Whether the TLS handshake failed, and not the network below it.
fn is_of_tls(error: &postgres::Error) -> bool {
    error.to_string().contains("TLS") && network_error(error).is_none()
}

/// The network's error among the causes.
pub(crate) fn network_error(error: &postgres::Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(network) = error.downcast_ref() {
            return Some(network);
        }
        cause = error.source();
    }
    None
}
