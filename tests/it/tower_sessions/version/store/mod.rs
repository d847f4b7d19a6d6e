//! The facade as a `SessionStore`, without the middleware.

mod concurrent;
mod data;
mod errors;
mod hashed_keys;
mod records;

use super::tower_sessions::{session::Record, session_store::Error};
use session_postgres::Key;

const SECRET: &str = "SecretOfTheLobster";

fn key(record: &Record) -> Key {
    record.id.to_string().parse().unwrap()
}

fn assert_is_gone(result: Result<(), Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
    assert!(error.to_string().contains("no such session"), "{error}");
}
