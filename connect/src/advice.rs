//! Advice in the error of an attempt to connect.

use std::io;

use postgres::error::SqlState;

use crate::attempt::{PasswordOrigin, network_error};

/// Returns advice that may help. `text` is the error's message.
pub(crate) fn advice(
    error: &postgres::Error,
    text: &str,
    origin: &PasswordOrigin,
) -> Option<String> {
    if let Some(code) = error.code() {
        return by_code(code, text, origin);
    }
    let advice = match network_error(error).map(io::Error::kind) {
        _ if text.contains("password missing") => return Some(no_password(origin)),
        _ if text.contains("channel binding") => {
            "channel_binding=require needs TLS, the method scram-sha-256, and a certificate of the server that is \
             signed with RSA or ECDSA, but not with RSA-PSS, and not with ECDSA and SHA-512 unless the feature \
             `tls` is on"
        }
        _ if text.contains("certificate verify failed") => {
            "the server's certificate is not trusted, or was issued for another host: sslrootcert names the \
             file of trusted certificates; nothing was sent to the server"
        }
        _ if text.contains("does not support TLS") => {
            "turn on `ssl` in the server's configuration; sslmode says whether TLS is needed"
        }
        Some(io::ErrorKind::ConnectionRefused) => {
            "no program listens there: check that the server runs, the port, and the server's \
             `listen_addresses`"
        }
        Some(io::ErrorKind::NotFound) => {
            "no server has its socket there: check that the server runs, and that `host` is the directory \
             of its socket"
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "the user of this program has no permission to use the socket"
        }
        Some(io::ErrorKind::TimedOut) => {
            "a firewall may drop the packets, or the server may be overloaded; connect_timeout is the time \
             limit"
        }
        _ => return None,
    };
    Some(advice.to_owned())
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
            "check the user name, which is `user` or PGUSER, or else the name of the operating system's \
             user; or the server's pg_hba.conf does not allow this user, address or use of TLS"
        }
        SqlState::INVALID_CATALOG_NAME => {
            "the database is named by `dbname` or PGDATABASE, or else it has the name of the user"
        }
        SqlState::TOO_MANY_CONNECTIONS => {
            "lower the number of connections of each program, or raise the server's `max_connections`, or \
             use a pooler"
        }
        SqlState::CANNOT_CONNECT_NOW => "the server is starting up or shutting down: try again",
        SqlState::PROTOCOL_VIOLATION if message.contains("startup parameter") => {
            "a pooler does not accept this option: leave it out, or add it to the pooler's \
             `ignore_startup_parameters`"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

fn no_password(origin: &PasswordOrigin) -> String {
    let advice = "the server asks for a password, and there is none: use `password`, PGPASSWORD or a \
                  password file";
    match origin {
        PasswordOrigin::Nowhere(Some(why)) => format!("{advice}; {why}"),
        _ => advice.to_owned(),
    }
}
