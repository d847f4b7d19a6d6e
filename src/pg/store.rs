//! The verbs, each as the statement it sends and what its rows mean.

use std::num::NonZeroUsize;

use super::{
    PostgresStore,
    batch::{self, Call, SameKey, micros, place},
    connection::Effect,
    row::Found,
    secret::Secret,
};
use crate::{Error, Key, Period, Session, Store, deadline::Deadline, session::check_value};

impl Store for PostgresStore {
    fn default_period(&self) -> Period {
        self.default_period.get()
    }

    fn set_default_period(&self, period: Period) {
        self.default_period.set(period);
    }

    /// The largest number of connections of the pool.
    fn parallelism(&self) -> NonZeroUsize {
        self.source.max_connections()
    }

    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        let key = Key::generate()?;
        let call = self.call(&key, value, expiry)?;
        self.generate_all(&[call])
            .into_iter()
            .collect::<Result<(), _>>()?;
        Ok(key)
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.write(&self.sql.clear, &Call::of(key))
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        let found = self.with_connection(|connection| {
            let rows = connection.query(&self.sql.get, &[&Secret::of(key)], Effect::None)?;
            Ok(Found::longest(&rows)?)
        })?;
        found.ok_or(Error::NotFound)?.into_session()
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.call(key, Some(value), expiry)?;
        self.write(&self.sql.set, &call)
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.call(key, value, expiry)?;
        self.insert_one(&call)
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.call(key, None, expiry)?;
        self.write(&self.sql.touch, &call)
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        let new = Key::generate()?;
        let params = (Secret::of(key), Secret::of(&new));
        let is_moved = self.with_connection(|connection| {
            // No other call knows the new key. If it is there, an earlier attempt has put it there.
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
        let call = self.call(key, None, expiry)?;
        self.update_locked(&call, edit)
    }

    fn generate_many(&self, calls: &[(Option<&str>, Option<Period>)]) -> Vec<Result<Key, Error>> {
        let keys: Vec<_> = calls.iter().map(|_| Key::generate()).collect();
        let calls = calls.iter().zip(&keys).map(|((value, expiry), key)| {
            let key = key.as_ref().map_err(Clone::clone)?;
            self.call(key, *value, *expiry)
        });
        let calls = calls.collect();
        let generate = |calls: &[Call<'_>]| self.generate_all(calls);
        let one = |call: &Call<'_>| self.generate_all(&[*call]).into_iter().collect();
        let done = Deadline::within(self.timeout)
            .scope(|| batch::each(calls, SameKey::Shares, generate, one));
        let done = done.into_iter().zip(keys);
        done.map(|(done, key)| done.and(key)).collect()
    }

    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.write_many(&self.sql.clear, named(keys))
    }

    fn try_clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        self.try_write_many(&self.sql.clear, named(keys))
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        if let [key] = keys {
            return vec![self.get(key)];
        }
        let typical = self.sizes.typical();
        let get = |calls: &[Call<'_>]| {
            let found = batch::isolated(calls, |_| typical, |calls| self.find(calls));
            found
                .into_iter()
                .map(|found| found?.ok_or(Error::NotFound)?.into_session())
                .collect()
        };
        Deadline::within(self.timeout)
            .scope(|| batch::each(named(keys), SameKey::Shares, get, |call| self.get(call.key)))
    }

    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.write_many(&self.sql.set, self.sets(calls))
    }

    fn try_set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.try_write_many(&self.sql.set, self.sets(calls))
    }

    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.insert_all(self.inserts(calls))
    }

    fn try_insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        self.try_insert_all(self.inserts(calls))
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.write_many(&self.sql.touch, self.touches(calls))
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.try_write_many(&self.sql.touch, self.touches(calls))
    }
}

/// A call, or why it cannot be one.
type Checked<'a> = Result<Call<'a>, Error>;

impl PostgresStore {
    /// Checks what a caller wants written.
    fn call<'a>(
        &self,
        key: &'a Key,
        value: Option<&'a str>,
        expiry: Option<Period>,
    ) -> Checked<'a> {
        let value = value.map(check_value).transpose()?;
        let micros = micros(self.default_period.or_given(expiry)?);
        Ok(Call { key, value, micros })
    }

    fn sets<'a>(&self, calls: &[(&'a Key, &'a str, Option<Period>)]) -> Vec<Checked<'a>> {
        let calls = calls.iter();
        calls
            .map(|(key, value, expiry)| self.call(key, Some(value), *expiry))
            .collect()
    }

    fn inserts<'a>(
        &self,
        calls: &[(&'a Key, Option<&'a str>, Option<Period>)],
    ) -> Vec<Checked<'a>> {
        let calls = calls.iter();
        calls
            .map(|(key, value, expiry)| self.call(key, *value, *expiry))
            .collect()
    }

    fn touches<'a>(&self, calls: &[(&'a Key, Option<Period>)]) -> Vec<Checked<'a>> {
        calls
            .iter()
            .map(|(key, expiry)| self.call(key, None, *expiry))
            .collect()
    }

    /// Reads many sessions in one statement.
    fn find(&self, calls: &[Call<'_>]) -> Result<Vec<Option<Found>>, Error> {
        let params = batch::Arrays::of(calls);
        self.with_connection(|connection| {
            let sql = &self.sql.get_many;
            let mut found: Vec<Option<Found>> = calls.iter().map(|_| None).collect();
            for row in &connection.query(sql, &params.to(sql), Effect::None)? {
                let call = &mut found[place(row, 3)?];
                *call = Some(Found::read(row)?.or_longer(call.take()));
            }
            for found in found.iter().flatten() {
                self.sizes.saw(found.value().map_or(0, str::len));
            }
            Ok(found)
        })
    }
}

fn named<'a>(keys: &[&'a Key]) -> Vec<Checked<'a>> {
    keys.iter().map(|key| Ok(Call::of(key))).collect()
}
