//! Why no server could be connected to, and what to do about it.

use std::{error::Error as StdError, fmt, io};

use postgres::error::SqlState;

use crate::error::DatabaseError;

/// Why no server could be connected to: what was tried, what each came to, and what may help. It never
/// holds a password.
#[derive(Clone)]
pub struct ConnectError {
    text: String,
    code: Option<SqlState>,
}

impl ConnectError {
    pub(super) fn new(user: &str, dbname: &str, attempts: &[Attempt]) -> ConnectError {
        let tried: Vec<_> = attempts.iter().map(Attempt::to_string).collect();
        ConnectError {
            text: format!(
                "cannot connect as user {user:?} to database {dbname:?}: {}",
                tried.join("; ")
            ),
            code: attempts
                .iter()
                .rev()
                .find_map(|attempt| attempt.failure.code().cloned()),
        }
    }

    /// Where the driver did so.
    pub(super) fn panicked() -> ConnectError {
        ConnectError {
            text: "cannot connect: the driver panicked, perhaps for want of file descriptors"
                .to_owned(),
            code: None,
        }
    }

    /// The SQLSTATE of the last server that gave one.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        self.code.as_ref()
    }
}

/// Of a connection that was there.
impl From<&postgres::Error> for ConnectError {
    fn from(error: &postgres::Error) -> ConnectError {
        let cause = DatabaseError::from(error);
        ConnectError {
            text: cause.to_string(),
            code: cause.code().cloned(),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectError({self})")
    }
}

impl StdError for ConnectError {}

/// One try, at one address.
pub(super) struct Attempt {
    place: String,
    failure: Failure,
}

impl Attempt {
    pub(super) fn new(place: String, failure: Failure) -> Attempt {
        Attempt { place, failure }
    }

    pub(super) fn is_unwelcome(&self) -> bool {
        self.failure.is_unwelcome()
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}: {}", self.place, self.failure.text)?;
        match &self.failure.advice {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

/// What a try came to.
pub(super) struct Failure {
    kind: Kind,
    text: String,
    advice: Option<String>,
}

enum Kind {
    /// The server said no.
    Refused(SqlState),
    /// The two could not agree on TLS.
    Tls,
    /// The server is not as wanted.
    Unfit,
    /// There was no such server, or no answer.
    Nothing,
}

/// Where the password came from.
pub(super) enum PasswordOrigin {
    Place(String),
    /// There is none; of a password file that was left unread, why.
    Nowhere(Option<String>),
}

impl Failure {
    pub(super) fn of_driver(error: &postgres::Error, origin: &PasswordOrigin) -> Failure {
        let cause = DatabaseError::from(error);
        let (kind, text) = match cause.code() {
            Some(code) => (
                Kind::Refused(code.clone()),
                format!("{} (SQLSTATE {})", cause.message(), code.code()),
            ),
            None if is_of_tls(error) => (Kind::Tls, cause.message().to_owned()),
            None => {
                // The driver takes whatever happens to the connector for that.
                let text = cause.message();
                let text = text.strip_prefix("error performing TLS handshake: ");
                (Kind::Nothing, text.unwrap_or(cause.message()).to_owned())
            }
        };
        Failure {
            kind,
            text,
            advice: advice(error, &cause, origin),
        }
    }

    pub(super) fn of_lookup(error: &io::Error) -> Failure {
        Failure {
            kind: Kind::Nothing,
            text: format!("the name of the host leads nowhere: {error}"),
            advice: Some("is it spelled right, and does this machine's DNS know it?".to_owned()),
        }
    }

    pub(super) fn of_role(what: &str) -> Failure {
        Failure {
            kind: Kind::Unfit,
            text: format!("{what}, and target_session_attrs asks for another"),
            advice: Some("name all servers that may be it in `host`".to_owned()),
        }
    }

    /// Where TLS cannot even begin.
    pub(super) fn of_tls(why: String) -> Failure {
        Failure {
            kind: Kind::Tls,
            text: why,
            advice: None,
        }
    }

    fn code(&self) -> Option<&SqlState> {
        match &self.kind {
            Kind::Refused(code) => Some(code),
            _ => None,
        }
    }

    /// Whether the server does not let this user in.
    pub(super) fn is_unwelcome(&self) -> bool {
        self.code()
            .is_some_and(|code| code.code().starts_with("28"))
    }

    /// Whether it may be otherwise with TLS, or without.
    pub(super) fn may_be_about_tls(&self) -> bool {
        matches!(self.kind, Kind::Refused(_) | Kind::Tls)
    }
}

/// Whether it was the handshake that failed, and not the network under it.
fn is_of_tls(error: &postgres::Error) -> bool {
    error.to_string().contains("TLS") && network(error).is_none()
}

fn advice(
    error: &postgres::Error,
    cause: &DatabaseError,
    origin: &PasswordOrigin,
) -> Option<String> {
    if let Some(code) = cause.code() {
        return by_code(code, cause.message(), origin);
    }
    let text = cause.message();
    let advice = match network(error).map(io::Error::kind) {
        _ if text.contains("password missing") => return Some(no_password(origin)),
        _ if text.contains("certificate verify failed") => {
            "the server's certificate is not trusted, or not made out to this host: sslrootcert names \
             the file of the certificates to trust; nothing was sent to the server"
        }
        _ if text.contains("does not speak TLS") => {
            "turn on `ssl` in the server's configuration; sslmode says how much of TLS is asked for"
        }
        Some(io::ErrorKind::ConnectionRefused) => {
            "nothing listens there: is the server running, is this its port, and does \
             `listen_addresses` let TCP in?"
        }
        Some(io::ErrorKind::NotFound) => {
            "no server has its socket there: is it running, and is `host` the folder of the socket?"
        }
        Some(io::ErrorKind::PermissionDenied) => "this user may not use the socket",
        Some(io::ErrorKind::TimedOut) => {
            "does a firewall swallow what is sent, or is the server overloaded? connect_timeout says \
             how long to wait"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

fn network(error: &postgres::Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(network) = error.downcast_ref() {
            return Some(network);
        }
        cause = error.source();
    }
    None
}

fn by_code(code: &SqlState, message: &str, origin: &PasswordOrigin) -> Option<String> {
    let advice = match *code {
        SqlState::INVALID_PASSWORD => match origin {
            PasswordOrigin::Place(place) => {
                return Some(format!("the password comes from {place}"));
            }
            PasswordOrigin::Nowhere(_) => return Some(no_password(origin)),
        },
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "either there is no such user, `user` or PGUSER names it, else it is called like who runs the \
             program; or the server's pg_hba.conf does not let it in from here, or only with, or without, \
             TLS"
        }
        SqlState::INVALID_CATALOG_NAME => {
            "`dbname` or PGDATABASE names the database, else it is called like the user"
        }
        SqlState::TOO_MANY_CONNECTIONS => {
            "let each program have fewer with `PostgresStoreBuilder::max_connections`, or the server \
             more with its `max_connections`, or put a pooler in between"
        }
        SqlState::CANNOT_CONNECT_NOW => "the server is starting up or shutting down: try again",
        SqlState::PROTOCOL_VIOLATION if message.contains("startup parameter") => {
            "a pooler does not take this option: leave it out, or name it in the pooler's \
             `ignore_startup_parameters`"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

fn no_password(origin: &PasswordOrigin) -> String {
    let advice = "the server asks for a password, and there is none: give one with `password`, \
                  PGPASSWORD or a password file";
    match origin {
        PasswordOrigin::Nowhere(Some(why)) => format!("{advice}; {why}"),
        _ => advice.to_owned(),
    }
}
