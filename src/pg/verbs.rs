//! `Store` for `PostgresStore`. Each verb checks its arguments and sends its statement. [`stats`](super::stats) counts it.
//!
//! Verbs that may need more than one statement continue in [`write`](mod@super::write), [`insert`](super::insert),
//! [`rotate`](super::rotate) and [`update`](super::update). Those of owners continue in [`owners`](super::owners).

use std::{borrow::Cow, num::NonZeroUsize};

use postgres::Row;

use super::{
    PostgresStore,
    batch::{self, SameKey},
    connection::Effect,
    params::{ArrayParams, CheckedCall, RenewParams, call_index},
    row::SessionRow,
    secret::Secret,
};
use crate::{
    Error, Key, Method, OwnedSession, Period, Pruned, Session, SessionFields, ShardMap, Store,
    deadline::Deadline,
    session::{check_owner, check_value},
};

impl Store for PostgresStore {
    fn generate_with(&self, fields: SessionFields<'_>) -> Result<Key, Error> {
        self.one(Method::Generate, || {
            let key = self.slots.new_key()?;
            let stored = self.stored_key(&key);
            let call = self.check_fields(&stored, fields)?;
            self.generate_all(&[call])
                .into_iter()
                .collect::<Result<(), _>>()?;
            Ok(key)
        })
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.one(Method::Clear, || {
            self.write(&self.sql.clear, &CheckedCall::of_key(&self.stored_key(key)))
        })
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        self.one(Method::Get, || {
            to_session(self.find_one(&self.stored_key(key))?)
        })
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.one(Method::Set, || {
            let key = self.stored_key(key);
            let call = self.check_call(&key, Some(value), expiry)?;
            self.write(&self.sql.set, &call)
        })
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        self.one(Method::Insert, || {
            let key = self.stored_key(key);
            let call = self.check_call(&key, value, expiry)?;
            self.insert_one(&call)
        })
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.one(Method::Touch, || {
            let key = self.stored_key(key);
            let call = self.check_call(&key, None, expiry)?;
            self.write(&self.sql.touch, &call)
        })
    }

    fn rotate_with(&self, key: &Key, changes: SessionFields<'_>) -> Result<Key, Error> {
        self.one(Method::Rotate, || {
            let new = self.slots.new_key()?;
            let (key, stored) = (self.stored_key(key), self.stored_key(&new));
            self.rotate_session(&key, &stored, changes)?;
            Ok(new)
        })
    }

    fn rotate_to(&self, key: &Key, new: &Key, changes: SessionFields<'_>) -> Result<(), Error> {
        self.one(Method::Rotate, || {
            self.rotate_session_to(&self.stored_key(key), &self.stored_key(new), changes)
        })
    }

    fn set_owner(&self, key: &Key, owner: Option<&str>) -> Result<(), Error> {
        self.one(Method::SetOwner, || {
            self.change_owner(&self.stored_key(key), owner)
        })
    }

    fn owned(&self, owner: &str) -> Result<Vec<OwnedSession>, Error> {
        self.one(Method::Owned, || self.list_owned(owner))
    }

    fn clear_owned(&self, owner: &str, except: Option<&Key>) -> Result<u64, Error> {
        self.one(Method::ClearOwned, || {
            let except = except.map(|key| self.stored_key(key));
            let except = except.as_deref().map(Secret::of);
            self.remove_owned(&self.sql.clear_owned, owner, &except)
        })
    }

    fn clear_handle(&self, owner: &str, handle: &str) -> Result<bool, Error> {
        self.one(Method::ClearHandle, || {
            if !Key::is_handle(handle) {
                return check_owner(owner).map(|_| false);
            }
            let removed = self.remove_owned(&self.sql.clear_handle, owner, &Secret(handle))?;
            Ok(removed > 0)
        })
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        self.one(Method::Update, || {
            let key = self.stored_key(key);
            let call = self.check_call(&key, None, expiry)?;
            self.update_locked(&call, edit)
        })
    }

    fn default_period(&self) -> Period {
        self.default_period.get()
    }

    fn set_default_period(&self, period: Period) {
        self.default_period.set(period);
    }

    fn prune_pass(&self, limit: u64) -> Pruned {
        self.one_pass(|| self.prune_once(limit))
    }

    fn generate_many(&self, calls: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        self.many(Method::Generate, calls.len(), || {
            let keys: Vec<_> = calls.iter().map(|_| self.slots.new_key()).collect();
            let stored: Vec<_> = keys
                .iter()
                .map(|key| key.as_ref().map(|key| self.stored_key(key)))
                .collect();
            let calls = calls.iter().zip(&stored).map(|(fields, key)| match key {
                Ok(key) => self.check_fields(key, *fields),
                Err(e) => Err((*e).clone()),
            });
            let calls = calls.collect();
            let generate = |calls: &[CheckedCall<'_>]| self.generate_all(calls);
            let one = |call: &CheckedCall<'_>| self.generate_all(&[*call]).into_iter().collect();
            let done = Deadline::within(self.timeout)
                .scope(|| batch::execute(calls, SameKey::Shares, generate, one));
            drop(stored);
            let done = done.into_iter().zip(keys);
            done.map(|(done, key)| done.and(key)).collect()
        })
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        if let [key] = keys {
            return vec![self.get(key)];
        }
        self.many(Method::Get, keys.len(), || {
            let keys = self.stored_keys(keys.iter().copied());
            self.read_many(calls_of_keys(&keys), SameKey::Shares, |calls| {
                self.find(calls)
            })
        })
    }

    fn renew_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        self.many(Method::Renew, calls.len(), || {
            let keys = self.stored_keys(calls.iter().map(|(key, _)| *key));
            let calls = keys.iter().zip(calls);
            let calls = calls.map(|(key, (_, expiry))| self.check_call(key, None, *expiry));
            self.read_many(calls.collect(), SameKey::SharesLongest, |calls| {
                self.find_and_renew(calls)
            })
        })
    }

    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.many(Method::Clear, keys.len(), || {
            let keys = self.stored_keys(keys.iter().copied());
            self.write_many(&self.sql.clear, &calls_of_keys(&keys))
        })
    }

    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.many(Method::Clear, keys.len(), || {
            let keys = self.stored_keys(keys.iter().copied());
            self.try_write_many(&self.sql.clear, calls_of_keys(&keys))
        })
    }

    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.many(Method::Set, calls.len(), || {
            let keys = self.stored_keys(calls.iter().map(|(key, ..)| *key));
            self.write_many(&self.sql.set, &self.check_sets(&keys, calls))
        })
    }

    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.many(Method::Set, calls.len(), || {
            let keys = self.stored_keys(calls.iter().map(|(key, ..)| *key));
            self.try_write_many(&self.sql.set, self.check_sets(&keys, calls))
        })
    }

    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.many(Method::Insert, calls.len(), || {
            let keys = self.stored_keys(calls.iter().map(|(key, ..)| *key));
            self.insert_all(&self.check_inserts(&keys, calls))
        })
    }

    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.many(Method::Insert, calls.len(), || {
            let keys = self.stored_keys(calls.iter().map(|(key, ..)| *key));
            self.try_insert_all(self.check_inserts(&keys, calls))
        })
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.many(Method::Touch, calls.len(), || {
            let keys = self.stored_keys(calls.iter().map(|(key, _)| *key));
            self.write_many(&self.sql.touch, &self.check_touches(&keys, calls))
        })
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.many(Method::Touch, calls.len(), || {
            let keys = self.stored_keys(calls.iter().map(|(key, _)| *key));
            self.try_write_many(&self.sql.touch, self.check_touches(&keys, calls))
        })
    }

    fn new_key(&self, _: Option<&Key>) -> Result<Key, Error> {
        self.slots.new_key()
    }

    fn join_map(&self, server: &str, map: &ShardMap) -> Result<Option<ShardMap>, Error> {
        let slots = map.slots_of(server)?;
        let older = self.keep_map(server, map)?;
        self.slots.join(slots);
        Ok(older)
    }

    /// The largest number of connections of the pool.
    fn parallelism(&self) -> NonZeroUsize {
        self.source.max_connections()
    }
}

impl PostgresStore {
    /// Returns the key under which the table has the session.
    pub(super) fn stored_key<'a>(&self, key: &'a Key) -> Cow<'a, Key> {
        match self.hash_keys {
            true => Cow::Owned(key.hashed()),
            false => Cow::Borrowed(key),
        }
    }

    fn stored_keys<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Vec<Cow<'a, Key>> {
        keys.map(|key| self.stored_key(key)).collect()
    }

    /// Executes `read` for many calls, as few at a time as the size of the values requires.
    fn read_many(
        &self,
        calls: Vec<Result<CheckedCall<'_>, Error>>,
        same_key: SameKey,
        read: impl Fn(&[CheckedCall<'_>]) -> Result<Vec<Option<SessionRow>>, Error>,
    ) -> Vec<Result<Session, Error>> {
        let expected_bytes = self.value_sizes.typical();
        let many = |calls: &[CheckedCall<'_>]| {
            let found = batch::isolate_errors(calls, |_| expected_bytes, &read);
            found.into_iter().map(|found| to_session(found?)).collect()
        };
        // The calls for one key share a result, so none is executed alone.
        let one = |call: &CheckedCall<'_>| to_session(read(&[*call])?.pop().flatten());
        Deadline::within(self.timeout).scope(|| batch::execute(calls, same_key, many, one))
    }

    fn find_one(&self, key: &Key) -> Result<Option<SessionRow>, Error> {
        self.with_connection(|connection| {
            let rows = connection.query(&self.sql.get, &[&Secret::of(key)], Effect::None)?;
            Ok(SessionRow::read_longest(&rows)?)
        })
    }

    /// Reads many sessions in one statement.
    fn find(&self, calls: &[CheckedCall<'_>]) -> Result<Vec<Option<SessionRow>>, Error> {
        if let [call] = calls {
            return Ok(vec![self.find_one(call.key)?]);
        }
        let params = ArrayParams::of(calls);
        self.with_connection(|connection| {
            let sql = &self.sql.get_many;
            let rows = connection.query(sql, &params.to(sql), Effect::None)?;
            Ok(self.read_rows(&rows, calls.len())?)
        })
    }

    /// Reads many sessions in one statement. If the expiry dates of some are near, another statement renews these.
    ///
    /// One statement for both takes more than twice as long as reading, and few sessions are renewed.
    fn find_and_renew(&self, calls: &[CheckedCall<'_>]) -> Result<Vec<Option<SessionRow>>, Error> {
        let mut found = self.find(calls)?;
        let is_due = |index: &usize| {
            let due_below = self.due_below(&calls[*index]);
            let row = found[*index].as_ref();
            row.is_some_and(|row| row.is_due(due_below, self.max_age))
        };
        let due: Vec<_> = (0..calls.len()).filter(is_due).collect();
        if due.is_empty() {
            return Ok(found);
        }
        let calls: Vec<_> = due.iter().map(|index| calls[*index]).collect();
        for (index, renewed) in due.into_iter().zip(self.renew_due(&calls)?) {
            if let Some(renewed) = renewed {
                found[index] = Some(renewed.or_longer(found[index].take()));
            }
        }
        Ok(found)
    }

    /// Returns the sessions that were renewed, as they are then.
    fn renew_due(&self, calls: &[CheckedCall<'_>]) -> Result<Vec<Option<SessionRow>>, Error> {
        let params = RenewParams::of(calls, |call| self.due_below(call));
        self.with_connection(|connection| {
            let rows = connection.query(&self.sql.renew_many, &params.all(), Effect::Provable)?;
            Ok(self.read_rows(&rows, calls.len())?)
        })
    }

    /// Returns the remaining time below which this call renews its session.
    pub(super) fn due_below(&self, call: &CheckedCall<'_>) -> Period {
        self.renew_after
            .due_below(Period::microseconds(call.micros))
    }

    /// Returns the session of each call. The place of the call is in the fifth column.
    fn read_rows(
        &self,
        rows: &[Row],
        calls: usize,
    ) -> Result<Vec<Option<SessionRow>>, postgres::Error> {
        let mut found: Vec<Option<SessionRow>> = (0..calls).map(|_| None).collect();
        for row in rows {
            let of_call = &mut found[call_index(row, 4)?];
            *of_call = Some(SessionRow::read(row)?.or_longer(of_call.take()));
        }
        for found in found.iter().flatten() {
            self.value_sizes.saw(found.value().map_or(0, str::len));
        }
        Ok(found)
    }

    pub(super) fn check_call<'a>(
        &self,
        key: &'a Key,
        value: Option<&'a str>,
        expiry: Option<Period>,
    ) -> Result<CheckedCall<'a>, Error> {
        let value = value.map(check_value).transpose()?;
        let period = self.default_period.or_given(expiry)?;
        Ok(CheckedCall::new(key, value, period))
    }

    pub(super) fn check_fields<'a>(
        &self,
        key: &'a Key,
        fields: SessionFields<'a>,
    ) -> Result<CheckedCall<'a>, Error> {
        let mut call = self.check_call(key, fields.value, fields.expiry)?;
        call.owner = fields.owner.map(check_owner).transpose()?;
        Ok(call)
    }

    fn check_sets<'a>(
        &self,
        keys: &'a [Cow<'_, Key>],
        calls: &[(&Key, &'a str, Option<Period>)],
    ) -> Vec<Result<CheckedCall<'a>, Error>> {
        let calls = keys.iter().zip(calls);
        calls
            .map(|(key, (_, value, expiry))| self.check_call(key, Some(value), *expiry))
            .collect()
    }

    fn check_inserts<'a>(
        &self,
        keys: &'a [Cow<'_, Key>],
        calls: &[(&Key, Option<&'a str>, Option<Period>)],
    ) -> Vec<Result<CheckedCall<'a>, Error>> {
        let calls = keys.iter().zip(calls);
        calls
            .map(|(key, (_, value, expiry))| self.check_call(key, *value, *expiry))
            .collect()
    }

    fn check_touches<'a>(
        &self,
        keys: &'a [Cow<'_, Key>],
        calls: &[(&Key, Option<Period>)],
    ) -> Vec<Result<CheckedCall<'a>, Error>> {
        let calls = keys.iter().zip(calls);
        calls
            .map(|(key, (_, expiry))| self.check_call(key, None, *expiry))
            .collect()
    }
}

fn to_session(found: Option<SessionRow>) -> Result<Session, Error> {
    found.ok_or(Error::NotFound)?.into_session()
}

fn calls_of_keys<'a>(keys: &'a [Cow<'_, Key>]) -> Vec<Result<CheckedCall<'a>, Error>> {
    keys.iter()
        .map(|key| Ok(CheckedCall::of_key(key)))
        .collect()
}
