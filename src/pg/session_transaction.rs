//! The verbs in a transaction of the caller.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use postgres::{Row, Transaction, types::ToSql};

use super::{
    PostgresStore,
    insert::{InsertOutcome, MAX_PASSES, discarded, diverted_outcome, read_outcomes, to_result},
    owners::{read_count, read_owned},
    params::{ArrayParams, CheckedCall, Params, RenewParams},
    row::SessionRow,
    secret::Secret,
    statements::{Sql, WriteStatements},
    update::written_session,
    write::{read_results, single_result},
};
use crate::{
    Error, Key, OwnedSession, Period, Session, SessionFields,
    session::{check_owner, check_value},
};

/// The calls of a [`PostgresStore`] in a transaction of the caller, from [`PostgresStore::in_transaction`] or
/// [`PostgresStore::transaction`].
///
/// It also has the methods of the `postgres::Transaction`.
pub struct SessionTransaction<'a, 't> {
    pub(super) store: &'a PostgresStore,
    pub(super) transaction: &'a mut Transaction<'t>,
}

impl SessionTransaction<'_, '_> {
    /// Does the same as [`Store::generate`](crate::Store::generate).
    ///
    /// # Errors
    ///
    /// Those of [`Store::generate`](crate::Store::generate).
    pub fn generate(&mut self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        self.generate_with(SessionFields::new(value, expiry))
    }

    /// Does the same as [`Store::generate_with`](crate::Store::generate_with).
    ///
    /// # Errors
    ///
    /// Those of [`Store::generate_with`](crate::Store::generate_with).
    pub fn generate_with(&mut self, fields: SessionFields<'_>) -> Result<Key, Error> {
        let key = self.store.slots.new_key()?;
        let stored = self.store.stored_key(&key);
        let call = self.store.check_fields(&stored, fields)?;
        let sql = match call.owner {
            Some(_) => &self.store.sql.generate_with_owner.one,
            None => &self.store.sql.generate.one,
        };
        let rows = self.query(sql, &Params::of(&call).to(sql))?;
        if rows.is_empty() && !self.is_stored(&stored)? {
            return Err(discarded());
        }
        Ok(key)
    }

    /// Does the same as [`Store::insert`](crate::Store::insert).
    ///
    /// # Errors
    ///
    /// Those of [`Store::insert`](crate::Store::insert).
    pub fn insert(
        &mut self,
        key: &Key,
        value: Option<&str>,
        expiry: Option<Period>,
    ) -> Result<(), Error> {
        let key = self.store.stored_key(key);
        let call = self.store.check_call(&key, value, expiry)?;
        let sql = &self.store.sql.insert_waiting;
        for pass in 0..MAX_PASSES {
            let rows = self.query(sql, &ArrayParams::of(&[call]).to(sql))?;
            match self.read(read_outcomes(&rows, 1))?[..] {
                // Another transaction has inserted a session during the statement, or a trigger has interfered.
                [] | [InsertOutcome::Neither] if pass == 0 && self.inserts_are_diverted()? => {
                    let rows = self.query(&self.store.sql.stored, &[&Secret::of(&key)])?;
                    let values = rows.iter().map(|row| row.try_get(0));
                    let values: Vec<_> = self.read(values.collect::<Result<_, _>>())?;
                    return to_result(diverted_outcome(&values, &call));
                }
                [] | [InsertOutcome::Neither] => {}
                [outcome, ..] => return to_result(Ok(outcome)),
            }
        }
        Err(discarded())
    }

    fn inserts_are_diverted(&mut self) -> Result<bool, Error> {
        let table = self.store.names.table.to_string();
        let rows = self.query(&self.store.sql.insert_is_diverted, &[&table])?;
        let is_diverted = rows.first().map_or(Ok(false), |row| row.try_get(0));
        self.read(is_diverted)
    }

    /// Does the same as [`Store::get`](crate::Store::get).
    ///
    /// # Errors
    ///
    /// Those of [`Store::get`](crate::Store::get).
    pub fn get(&mut self, key: &Key) -> Result<Session, Error> {
        let key = self.store.stored_key(key);
        let rows = self.query(&self.store.sql.get, &[&Secret::of(&key)])?;
        self.read_session(&rows)
    }

    /// Does the same as [`Store::find`](crate::Store::find).
    ///
    /// # Errors
    ///
    /// Those of [`Store::find`](crate::Store::find).
    pub fn find(&mut self, key: &Key) -> Result<Option<Session>, Error> {
        match self.get(key) {
            Ok(session) => Ok(Some(session)),
            Err(Error::NotFound) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Does the same as [`Store::renew`](crate::Store::renew).
    ///
    /// # Errors
    ///
    /// Those of [`Store::renew`](crate::Store::renew).
    pub fn renew(&mut self, key: &Key, expiry: Option<Period>) -> Result<Session, Error> {
        let key = self.store.stored_key(key);
        let call = self.store.check_call(&key, None, expiry)?;
        let due_below = self.store.due_below(&call);
        let rows = self.query(&self.store.sql.get, &[&Secret::of(&key)])?;
        let mut found = self.read(SessionRow::read_longest(&rows))?;
        if found
            .as_ref()
            .is_some_and(|row| row.is_due(due_below, self.store.max_age))
        {
            let params = RenewParams::of(&[call], |_| due_below);
            let rows = self.query(&self.store.sql.renew_many, &params.all())?;
            if let Some(renewed) = self.read(SessionRow::read_longest(&rows))? {
                found = Some(renewed.or_longer(found));
            }
        }
        found.ok_or(Error::NotFound)?.into_session()
    }

    /// Does the same as [`Store::set`](crate::Store::set).
    ///
    /// # Errors
    ///
    /// Those of [`Store::set`](crate::Store::set).
    pub fn set(&mut self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        let key = self.store.stored_key(key);
        let call = self.store.check_call(&key, Some(value), expiry)?;
        self.write(&self.store.sql.set, &call)
    }

    /// Does the same as [`Store::touch`](crate::Store::touch).
    ///
    /// # Errors
    ///
    /// Those of [`Store::touch`](crate::Store::touch).
    pub fn touch(&mut self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        let key = self.store.stored_key(key);
        let call = self.store.check_call(&key, None, expiry)?;
        self.write(&self.store.sql.touch, &call)
    }

    /// Does the same as [`Store::clear`](crate::Store::clear).
    ///
    /// # Errors
    ///
    /// Those of [`Store::clear`](crate::Store::clear).
    pub fn clear(&mut self, key: &Key) -> Result<(), Error> {
        let key = self.store.stored_key(key);
        self.write(&self.store.sql.clear, &CheckedCall::of_key(&key))
    }

    /// Does the same as [`Store::rotate`](crate::Store::rotate).
    ///
    /// # Errors
    ///
    /// Those of [`Store::rotate`](crate::Store::rotate).
    pub fn rotate(&mut self, key: &Key) -> Result<Key, Error> {
        self.rotate_with(key, SessionFields::default())
    }

    /// Does the same as [`Store::rotate_with`](crate::Store::rotate_with).
    ///
    /// # Errors
    ///
    /// Those of [`Store::rotate_with`](crate::Store::rotate_with).
    pub fn rotate_with(&mut self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        let new = self.store.slots.new_key()?;
        let (key, stored) = (self.store.stored_key(key), self.store.stored_key(&new));
        let rotation = self.store.check_rotation(&key, &stored, changes, false)?;
        let rows = self.query(rotation.sql, &rotation.params())?;
        to_found(&rows)?;
        Ok(new)
    }

    /// Does the same as [`Store::rotate_to`](crate::Store::rotate_to).
    ///
    /// # Errors
    ///
    /// Those of [`Store::rotate_to`](crate::Store::rotate_to).
    pub fn rotate_to(
        &mut self,
        key: &Key,
        new: &Key,
        changes: SessionFields<'_>,
    ) -> Result<(), Error> {
        let (key, new) = (self.store.stored_key(key), self.store.stored_key(new));
        let rotation = self.store.check_rotation(&key, &new, changes, true)?;
        self.query(&self.store.sql.remove_expired, &[&Secret::of(&new)])?;
        let rows = self.query(rotation.sql, &rotation.params())?;
        if rows.is_empty() {
            let old = self.query(&self.store.sql.get, &[&Secret::of(&key)])?;
            to_found(&old)?;
            return Err(Error::KeyExists);
        }
        Ok(())
    }

    /// Does the same as [`Store::update`](crate::Store::update). `edit` is executed at most once.
    ///
    /// # Errors
    ///
    /// Those of [`Store::update`](crate::Store::update).
    pub fn update(
        &mut self,
        key: &Key,
        expiry: Option<Period>,
        edit: impl FnOnce(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        let key = self.store.stored_key(key);
        let call = self.store.check_call(&key, None, expiry)?;
        let rows = self.query(&self.store.sql.lock, &[&Secret::of(&key)])?;
        let found = self.read(SessionRow::read_longest(&rows))?;
        let found = found.ok_or(Error::NotFound)?;
        let Some(value) = edit(found.value()) else {
            return found.into_session();
        };
        let call = CheckedCall {
            value: Some(check_value(&value)?),
            ..call
        };
        let sql = &self.store.sql.set_locked;
        let rows = self.query(sql, &Params::of(&call).to(sql))?;
        let written = rows.first().ok_or(Error::NotFound)?;
        self.read(written_session(written, &found))
    }

    /// Does the same as [`Store::set_owner`](crate::Store::set_owner).
    ///
    /// # Errors
    ///
    /// Those of [`Store::set_owner`](crate::Store::set_owner).
    pub fn set_owner(&mut self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        let key = self.store.stored_key(key);
        let owner = owner.map(check_owner).transpose()?.map(Secret);
        let rows = self.query(&self.store.sql.set_owner, &[&Secret::of(&key), &owner])?;
        to_found(&rows)
    }

    /// Does the same as [`Store::owned`](crate::Store::owned).
    ///
    /// # Errors
    ///
    /// Those of [`Store::owned`](crate::Store::owned).
    pub fn owned(&mut self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        let owner = Secret(check_owner(owner)?);
        let rows = self.query(&self.store.sql.owned, &[&owner])?;
        self.read(read_owned(&rows))
    }

    /// Does the same as [`Store::clear_owned`](crate::Store::clear_owned).
    ///
    /// # Errors
    ///
    /// Those of [`Store::clear_owned`](crate::Store::clear_owned).
    pub fn clear_owned(&mut self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        let owner = Secret(check_owner(owner)?);
        let except = except.map(|key| self.store.stored_key(key));
        let except = except.as_deref().map(Secret::of);
        let rows = self.query(&self.store.sql.clear_owned, &[&owner, &except])?;
        self.read(read_count(&rows))
    }

    /// Does the same as [`Store::clear_handle`](crate::Store::clear_handle).
    ///
    /// # Errors
    ///
    /// Those of [`Store::clear_handle`](crate::Store::clear_handle).
    pub fn clear_handle(&mut self, owner: &str, handle: &str) -> Result<bool, Error> {
        let owner = Secret(check_owner(owner)?);
        if !Key::is_handle(handle) {
            return Ok(false);
        }
        let rows = self.query(&self.store.sql.clear_handle, &[&owner, &Secret(handle)])?;
        Ok(self.read(read_count(&rows))? > 0)
    }

    /// Sends the careful statement, which waits for locks and sets no `lock_timeout`.
    fn write(&mut self, write: &WriteStatements, call: &CheckedCall<'_>) -> Result<(), Error> {
        let sql = &write.careful_waiting;
        let rows = self.query(sql, &ArrayParams::of(&[*call]).to(sql))?;
        let results = self.read(read_results(&rows, 1, write, false))?;
        single_result(results)
    }

    fn is_stored(&mut self, key: &Key) -> Result<bool, Error> {
        let rows = self.query(&self.store.sql.stored, &[&Secret::of(key)])?;
        Ok(!rows.is_empty())
    }

    fn read_session(&self, rows: &[Row]) -> Result<Session, Error> {
        let found = self.read(SessionRow::read_longest(rows))?;
        found.ok_or(Error::NotFound)?.into_session()
    }

    /// Every statement of these calls is sent here.
    fn query(&mut self, sql: &Sql, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let params = params.iter().copied();
        let typed: Vec<_> = params.zip(sql.types.iter().cloned()).collect();
        let rows = self.transaction.query_typed(&sql.text, &typed);
        self.read(rows)
    }

    fn read<T>(&self, result: Result<T, postgres::Error>) -> Result<T, Error> {
        result.map_err(|e| self.store.explain_in_transaction(&e))
    }
}

fn to_found(rows: &[Row]) -> Result<(), Error> {
    match rows.is_empty() {
        true => Err(Error::NotFound),
        false => Ok(()),
    }
}

impl<'t> Deref for SessionTransaction<'_, 't> {
    type Target = Transaction<'t>;

    fn deref(&self) -> &Transaction<'t> {
        self.transaction
    }
}

impl DerefMut for SessionTransaction<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.transaction
    }
}

impl fmt::Debug for SessionTransaction<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTransaction")
            .field("store", self.store)
            .finish_non_exhaustive()
    }
}
