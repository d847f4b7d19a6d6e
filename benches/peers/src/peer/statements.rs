//! Plain statements for programs without a session library, on the table of session-postgres.

use anyhow::Result;
use session_postgres::Key;

use crate::admin::PgTable;

pub(super) const CREATE_TABLE: &str = include_str!("../../../../sql/create.sql");

pub(super) const TABLE: PgTable = PgTable {
    name: "session",
    insert: "INSERT INTO session (session_key, expire_date, session_data) \
         SELECT key, now() + interval '7 days', convert_from(data, 'UTF8') \
         FROM unnest($1::text[], $2::bytea[]) AS row (key, data)",
    delete: "DELETE FROM session WHERE session_key = ANY ($1::text[]::bpchar[])",
};

pub(super) const LOAD_ONE: &str =
    "SELECT session_data FROM session WHERE session_key = $1 AND expire_date > now()";

pub(super) const SAVE_ONE: &str = "UPDATE session \
     SET session_data = $2, expire_date = now() + interval '7 days' \
     WHERE session_key = $1 AND expire_date > now()";

pub(super) const RENEW_ONE: &str = "UPDATE session SET expire_date = now() + interval '7 days' \
     WHERE session_key = $1 AND expire_date > now() RETURNING session_data";

pub(super) const CREATE_ONE: &str = "INSERT INTO session (session_key, session_data, expire_date) \
     VALUES ($1, $2, now() + interval '7 days')";

pub(super) const DELETE_ONE: &str = "DELETE FROM session WHERE session_key = $1";

pub(super) fn new_key() -> Result<String> {
    Ok(Key::generate()?.as_str().to_owned())
}
