//! `Store` for `PostgresStore`. Each verb checks its arguments and sends its statement.
//!
//! Verbs that may need more than one statement continue in [`write`](mod@super::write), [`insert`](super::insert)
//! and [`update`](super::update).

use std::num::NonZeroUsize;

use super::{
    PostgresStore,
    batch::{self, SameKey},
    connection::Effect,
    params::{ArrayParams, CheckedCall, call_index},
    row::SessionRow,
    secret::Secret,
};
use crate::{Error, Key, Period, Session, Store, deadline::Deadline, session::check_value};

impl Store for PostgresStore {
    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        let key = Key::generate()?;
        let call = self.check_call(&key, value, expiry)?;
        self.generate_all(&[call])
            .into_iter()
            .collect::<Result<(), _>>()?;
        Ok(key)
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.write(&self.sql.clear, &CheckedCall::of_key(key))
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        let found = self.with_connection(|connection| {
            let rows = connection.query(&self.sql.get, &[&Secret::of(key)], Effect::None)?;
            Ok(SessionRow::read_longest(&rows)?)
        })?;
        found.ok_or(Error::NotFound)?.into_session()
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.check_call(key, Some(value), expiry)?;
        self.write(&self.sql.set, &call)
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.check_call(key, value, expiry)?;
        self.insert_one(&call)
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.check_call(key, None, expiry)?;
        self.write(&self.sql.touch, &call)
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        let new = Key::generate()?;
        let params = (Secret::of(key), Secret::of(&new));
        let is_moved = self.with_connection(|connection| {
            // No other call knows the new key. If it exists, an earlier attempt has moved the session.
            if connection.unanswered().is_some() {
                let rows = connection.query(&self.sql.stored, &[&params.1], Effect::None)?;
                if !rows.is_empty() {
                    return Ok(true);
                }
            }
            let rows =
                connection.query(&self.sql.rotate, &[&params.0, &params.1], Effect::Provable)?;
            Ok(!rows.is_empty())
        })?;
        if is_moved {
            Ok(new)
        } else {
            Err(Error::NotFound)
        }
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        let call = self.check_call(key, None, expiry)?;
        self.update_locked(&call, edit)
    }

    fn default_period(&self) -> Period {
        self.default_period.get()
    }

    fn set_default_period(&self, period: Period) {
        self.default_period.set(period);
    }

    fn generate_many(&self, calls: &[(Option<&str>, Option<Period>)]) -> Vec<Result<Key, Error>> {
        let keys: Vec<_> = calls.iter().map(|_| Key::generate()).collect();
        let calls = calls.iter().zip(&keys).map(|((value, expiry), key)| {
            let key = key.as_ref().map_err(Clone::clone)?;
            self.check_call(key, *value, *expiry)
        });
        let calls = calls.collect();
        let generate = |calls: &[CheckedCall<'_>]| self.generate_all(calls);
        let one = |call: &CheckedCall<'_>| self.generate_all(&[*call]).into_iter().collect();
        let done = Deadline::within(self.timeout)
            .scope(|| batch::execute(calls, SameKey::Shares, generate, one));
        let done = done.into_iter().zip(keys);
        done.map(|(done, key)| done.and(key)).collect()
    }

    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.write_many(&self.sql.clear, calls_of_keys(keys))
    }

    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.try_write_many(&self.sql.clear, calls_of_keys(keys))
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        if let [key] = keys {
            return vec![self.get(key)];
        }
        let expected_bytes = self.value_sizes.typical();
        let get = |calls: &[CheckedCall<'_>]| {
            let found = batch::isolate_errors(calls, |_| expected_bytes, |calls| self.find(calls));
            found
                .into_iter()
                .map(|found| found?.ok_or(Error::NotFound)?.into_session())
                .collect()
        };
        let one = |call: &CheckedCall<'_>| self.get(call.key);
        Deadline::within(self.timeout)
            .scope(|| batch::execute(calls_of_keys(keys), SameKey::Shares, get, one))
    }

    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.write_many(&self.sql.set, self.check_sets(calls))
    }

    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.try_write_many(&self.sql.set, self.check_sets(calls))
    }

    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.insert_all(self.check_inserts(calls))
    }

    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.try_insert_all(self.check_inserts(calls))
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.write_many(&self.sql.touch, self.check_touches(calls))
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.try_write_many(&self.sql.touch, self.check_touches(calls))
    }

    /// The largest number of connections of the pool.
    fn parallelism(&self) -> NonZeroUsize {
        self.source.max_connections()
    }
}

impl PostgresStore {
    /// Reads many sessions in one statement.
    fn find(&self, calls: &[CheckedCall<'_>]) -> Result<Vec<Option<SessionRow>>, Error> {
        let params = ArrayParams::of(calls);
        self.with_connection(|connection| {
            let sql = &self.sql.get_many;
            let mut found: Vec<Option<SessionRow>> = calls.iter().map(|_| None).collect();
            for row in &connection.query(sql, &params.to(sql), Effect::None)? {
                let of_call = &mut found[call_index(row, 3)?];
                *of_call = Some(SessionRow::read(row)?.or_longer(of_call.take()));
            }
            for found in found.iter().flatten() {
                self.value_sizes.saw(found.value().map_or(0, str::len));
            }
            Ok(found)
        })
    }

    fn check_call<'a>(
        &self,
        key: &'a Key,
        value: Option<&'a str>,
        expiry: Option<Period>,
    ) -> Result<CheckedCall<'a>, Error> {
        let value = value.map(check_value).transpose()?;
        let period = self.default_period.or_given(expiry)?;
        Ok(CheckedCall::new(key, value, period))
    }

    fn check_sets<'a>(
        &self,
        calls: &[(&'a Key, &'a str, Option<Period>)],
    ) -> Vec<Result<CheckedCall<'a>, Error>> {
        let calls = calls.iter();
        calls
            .map(|(key, value, expiry)| self.check_call(key, Some(value), *expiry))
            .collect()
    }

    fn check_inserts<'a>(
        &self,
        calls: &[(&'a Key, Option<&'a str>, Option<Period>)],
    ) -> Vec<Result<CheckedCall<'a>, Error>> {
        let calls = calls.iter();
        calls
            .map(|(key, value, expiry)| self.check_call(key, *value, *expiry))
            .collect()
    }

    fn check_touches<'a>(
        &self,
        calls: &[(&'a Key, Option<Period>)],
    ) -> Vec<Result<CheckedCall<'a>, Error>> {
        calls
            .iter()
            .map(|(key, expiry)| self.check_call(key, None, *expiry))
            .collect()
    }
}

fn calls_of_keys<'a>(keys: &[&'a Key]) -> Vec<Result<CheckedCall<'a>, Error>> {
    keys.iter()
        .map(|key| Ok(CheckedCall::of_key(key)))
        .collect()
}
