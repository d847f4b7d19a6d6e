//! The sessions of an owner.

use postgres::{Row, types::ToSql};

use super::{PostgresStore, connection::Effect, row::SessionRow, secret::Secret, statements::Sql};
use crate::{Error, Key, OwnedSession, session::check_owner};

impl PostgresStore {
    pub(super) fn change_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        let owner = owner.map(check_owner).transpose()?.map(Secret);
        let rows = self.with_connection(|connection| {
            let params: [&(dyn ToSql + Sync); 2] = [&Secret::of(key), &owner];
            connection.query(&self.sql.set_owner, &params, Effect::Unknown)
        })?;
        match rows.is_empty() {
            true => Err(Error::NotFound),
            false => Ok(()),
        }
    }

    pub(super) fn list_owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        let owner = Secret(check_owner(owner)?);
        self.with_connection(|connection| {
            let rows = connection.query(&self.sql.owned, &[&owner], Effect::None)?;
            Ok(read_owned(&rows)?)
        })
    }

    /// Removes sessions of an owner. Returns how many of them had not expired.
    pub(super) fn remove_owned(
        &self,
        sql: &Sql,
        owner: &str,
        which: &(dyn ToSql + Sync),
    ) -> Result<u64, Error> {
        let owner = Secret(check_owner(owner)?);
        self.with_connection(|connection| {
            let rows = connection.query(sql, &[&owner, which], Effect::Unknown)?;
            Ok(read_count(&rows)?)
        })
    }
}

pub(super) fn read_owned(rows: &[Row]) -> Result<Vec<OwnedSession>, postgres::Error> {
    rows.iter()
        .map(|row| Ok(SessionRow::read(row)?.into_owned(row.try_get(4)?)))
        .collect()
}

pub(super) fn read_count(rows: &[Row]) -> Result<u64, postgres::Error> {
    let count = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
    Ok(count as u64)
}
