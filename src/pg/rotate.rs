//! `rotate`: moving a session to another key, and changing it in the same statement.

use postgres::error::SqlState;

use super::{
    PostgresStore,
    connection::{Connection, Effect, StatementError},
    params::{CheckedCall, Params},
    secret::Secret,
    statements::Sql,
};
use crate::{Error, Key, SessionFields, period, session::check_owner, session::check_value};

impl PostgresStore {
    /// Moves a session to the new random key `new`. Both keys are those of the table.
    pub(super) fn rotate_session(
        &self,
        key: &Key,
        new: &Key,
        changes: SessionFields<'_>,
    ) -> Result<(), Error> {
        let rotation = self.check_rotation(key, new, changes, false)?;
        let is_moved = self.with_connection(|connection| {
            // No other call knows the new key. If it is stored, an earlier attempt has moved the session.
            if connection.unanswered().is_some() && self.is_stored(connection, new)? {
                return Ok(true);
            }
            let params = rotation.params();
            let rows = connection.query(rotation.sql, &params, Effect::Provable)?;
            Ok(!rows.is_empty())
        })?;
        match is_moved {
            true => Ok(()),
            false => Err(Error::NotFound),
        }
    }

    /// Moves a session to a key that the caller has given. If a session has that key, nothing is changed.
    pub(super) fn rotate_session_to(
        &self,
        key: &Key,
        new: &Key,
        changes: SessionFields<'_>,
    ) -> Result<(), Error> {
        let rotation = self.check_rotation(key, new, changes, true)?;
        self.with_connection(|connection| {
            let new_param = [&Secret::of(new) as _];
            connection.query(&self.sql.remove_expired, &new_param, Effect::None)?;
            match connection.query(rotation.sql, &rotation.params(), Effect::Unknown) {
                Ok(rows) if !rows.is_empty() => Ok(Ok(())),
                Ok(_) => {
                    let key_param = [&Secret::of(key) as _];
                    let rows = connection.query(&self.sql.get, &key_param, Effect::None)?;
                    Ok(Err(match rows.is_empty() {
                        true => Error::NotFound,
                        false => Error::KeyExists,
                    }))
                }
                // Another unique constraint of the table may be violated.
                Err(StatementError::Driver(e))
                    if e.code() == Some(&SqlState::UNIQUE_VIOLATION)
                        && self.is_stored(connection, new)? =>
                {
                    Ok(Err(Error::KeyExists))
                }
                Err(e) => Err(e),
            }
        })?
    }

    /// Checks the arguments of a rotation.
    pub(super) fn check_rotation<'a>(
        &'a self,
        key: &'a Key,
        new: &'a Key,
        changes: SessionFields<'a>,
        is_new_given: bool,
    ) -> Result<Rotation<'a>, Error> {
        let value = changes.value.map(check_value).transpose()?;
        let period = changes.expiry.map(period::check).transpose()?;
        let mut call = CheckedCall::new(key, value, period.unwrap_or_default());
        call.owner = changes.owner.map(check_owner).transpose()?;
        let changed = [period.is_some(), value.is_some(), call.owner.is_some()];
        Ok(Rotation {
            sql: self.sql.rotate(changed, is_new_given),
            params: Params::of_rotation(&call, new),
        })
    }

    fn is_stored(
        &self,
        connection: &mut Connection<'_>,
        key: &Key,
    ) -> Result<bool, StatementError> {
        let rows = connection.query(&self.sql.stored, &[&Secret::of(key)], Effect::None)?;
        Ok(!rows.is_empty())
    }
}

/// The statement of a rotation, and its parameters.
pub(super) struct Rotation<'a> {
    pub(super) sql: &'a Sql,
    params: Params<'a>,
}

impl Rotation<'_> {
    pub(super) fn params(&self) -> Vec<&(dyn postgres::types::ToSql + Sync)> {
        self.params.to(self.sql)
    }
}
