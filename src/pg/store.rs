//! The verbs, each as the statement it sends and what its rows mean.

use std::{num::NonZeroUsize, time::Instant};

use postgres::{Row, types::ToSql};

use super::{
    PostgresStore,
    batch::{self, Call, SameKey, micros, periods, place, values},
    connection::Connection,
    row::Found,
    secret::Secret,
};
use crate::{Error, Key, Period, Session, Store, deadline, session::check_value};

impl Store for PostgresStore {
    fn default_period(&self) -> Period {
        self.default_period.get()
    }

    fn set_default_period(&self, period: Period) {
        self.default_period.set(period);
    }

    /// As many as the pool has connections at most.
    fn parallelism(&self) -> NonZeroUsize {
        self.source.connections()
    }

    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        let key = Key::generate()?;
        let call = self.write(&key, value, expiry)?;
        self.run(|connection| {
            if connection.interrupted().is_some() {
                // It may be there already.
                return self.insert_pass(connection, &[&call]).map(drop);
            }
            let (key, value) = (call.key(), call.value());
            connection
                .query(&self.sql.generate, &[&key, &call.micros, &value])
                .map(drop)
        })?;
        Ok(key)
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.run(|connection| connection.query(&self.sql.clear, &[&Secret::of(key)]))?;
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        self.run(|connection| {
            Found::longest(&connection.query(&self.sql.get, &[&Secret::of(key)])?)
        })?
        .ok_or(Error::NotFound)?
        .into_session()
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.write(key, Some(value), expiry)?;
        self.run(|connection| {
            let params = (call.key(), call.value());
            let rows = connection.query(&self.sql.set, &[&params.0, &call.micros, &params.1])?;
            Ok(found(!rows.is_empty(), connection))
        })?
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.write(key, value, expiry)?;
        self.insert_absent(&[&call])?.into_iter().collect()
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.write(key, None, expiry)?;
        self.run(|connection| {
            let rows = connection.query(&self.sql.touch, &[&call.key(), &call.micros])?;
            Ok(found(!rows.is_empty(), connection))
        })?
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        let new = Key::generate()?;
        let moved = self.run(|connection| {
            let rows =
                connection.query(&self.sql.rotate, &[&Secret::of(key), &Secret::of(&new)])?;
            if rows.is_empty() && connection.interrupted().is_some() {
                // Nobody else knows the new key: where it is there, an earlier try has put it there.
                let rows = connection.query(&self.sql.get, &[&Secret::of(&new)])?;
                return Ok(!rows.is_empty());
            }
            Ok(!rows.is_empty())
        })?;
        if moved { Ok(new) } else { Err(Error::NotFound) }
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        let call = self.write(key, None, expiry)?;
        self.update_locked(&call, edit)
    }

    fn generate_many(&self, calls: &[(Option<&str>, Option<Period>)]) -> Vec<Result<Key, Error>> {
        let keys: Vec<_> = calls.iter().map(|_| Key::generate()).collect();
        let writes = calls
            .iter()
            .zip(&keys)
            .map(|((value, expiry), key)| match key {
                Ok(key) => self.write(key, *value, *expiry),
                Err(e) => Err(e.clone()),
            });
        let done = self.each(writes.collect(), SameKey::Shares, |calls| {
            self.run(|connection| {
                if connection.interrupted().is_some() {
                    self.insert_pass(connection, calls)?;
                } else {
                    let params = (batch::keys(calls), periods(calls), values(calls));
                    connection
                        .query(&self.sql.generate_many, &[&params.0, &params.1, &params.2])?;
                }
                Ok(calls.iter().map(|_| Ok(())).collect())
            })
        });
        done.into_iter()
            .zip(keys)
            .map(|(done, key)| done.and(key))
            .collect()
    }

    fn clear_many(&self, keys: &[&Key]) -> Vec<Result<(), Error>> {
        let clear = |calls: &[&Call<'_>]| {
            let keys = batch::keys(calls);
            self.run(|connection| {
                connection.query(&self.sql.clear_many, &[&keys, &patience_with_locks()])
            })?;
            Ok(calls.iter().map(|_| Ok(())).collect())
        };
        let alone = |place: usize| self.clear(keys[place]);
        self.each_locking(reads(keys), SameKey::Shares, clear, alone)
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        self.each(reads(keys), SameKey::Shares, |calls| {
            self.run(|connection| {
                let mut found: Vec<Option<Found>> = calls.iter().map(|_| None).collect();
                for row in &connection.query(&self.sql.get_many, &[&batch::keys(calls)])? {
                    let call = &mut found[place(row, 3)?];
                    *call = Some(Found::read(row)?.or_longer(call.take()));
                }
                let sessions = found.into_iter();
                Ok(sessions
                    .map(|found| found.ok_or(Error::NotFound)?.into_session())
                    .collect())
            })
        })
    }

    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        let writes = calls
            .iter()
            .map(|(key, value, expiry)| self.write(key, Some(value), *expiry));
        let set = |calls: &[&Call<'_>]| {
            let params = (batch::keys(calls), periods(calls), values(calls));
            self.run(|connection| {
                let patience = patience_with_locks();
                let params: [&(dyn ToSql + Sync); 4] = [&params.0, &params.1, &params.2, &patience];
                let rows = connection.query(&self.sql.set_many, &params)?;
                found_each(&rows, calls, connection)
            })
        };
        let alone = |place: usize| {
            let (key, value, expiry) = calls[place];
            self.set(key, value, expiry)
        };
        self.each_locking(writes.collect(), SameKey::TakesTurns, set, alone)
    }

    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        let writes = calls
            .iter()
            .map(|(key, value, expiry)| self.write(key, *value, *expiry));
        self.each(writes.collect(), SameKey::TakesTurns, |calls| {
            self.insert_absent(calls)
        })
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        let writes = calls
            .iter()
            .map(|(key, expiry)| self.write(key, None, *expiry));
        let touch = |calls: &[&Call<'_>]| {
            let params = (batch::keys(calls), periods(calls));
            self.run(|connection| {
                let patience = patience_with_locks();
                let params: [&(dyn ToSql + Sync); 3] = [&params.0, &params.1, &patience];
                let rows = connection.query(&self.sql.touch_many, &params)?;
                found_each(&rows, calls, connection)
            })
        };
        let alone = |place: usize| {
            let (key, expiry) = calls[place];
            self.touch(key, expiry)
        };
        self.each_locking(writes.collect(), SameKey::TakesTurns, touch, alone)
    }
}

impl PostgresStore {
    /// Does many calls in few statements, all of them in the time of one operation.
    fn each<T>(
        &self,
        calls: Vec<Result<Call<'_>, Error>>,
        same_key: SameKey,
        statement: impl FnMut(&[&Call<'_>]) -> Result<Vec<Result<T, Error>>, Error>,
    ) -> Vec<Result<T, Error>> {
        deadline::CALL.within(deadline::after(self.timeout), || {
            batch::each(calls, same_key, statement)
        })
    }

    /// Does many calls that wait for their rows' locks. Those whose rows somebody else keeps locked are done
    /// last, each by itself, so that they hold up no other.
    fn each_locking(
        &self,
        calls: Vec<Result<Call<'_>, Error>>,
        same_key: SameKey,
        statement: impl FnMut(&[&Call<'_>]) -> Result<Vec<Result<(), Error>>, Error>,
        alone: impl Fn(usize) -> Result<(), Error>,
    ) -> Vec<Result<(), Error>> {
        if deadline::LOCKS.current().is_some() {
            // Whoever has set that does those calls.
            return self.each(calls, same_key, statement);
        }
        deadline::CALL.within(deadline::after(self.timeout), || {
            let end = deadline::after(deadline::LOCK_WAIT);
            let mut results = deadline::LOCKS.within(end, || self.each(calls, same_key, statement));
            for (place, result) in results.iter_mut().enumerate() {
                if result.as_ref().is_err_and(Error::is_about_lock) {
                    *result = alone(place);
                }
            }
            results
        })
    }

    /// Checks what a caller wants written.
    fn write<'a>(
        &self,
        key: &'a Key,
        value: Option<&'a str>,
        expiry: Option<Period>,
    ) -> Result<Call<'a>, Error> {
        let value = value.map(check_value).transpose()?;
        let micros = micros(self.default_period.or_given(expiry)?);
        Ok(Call { key, value, micros })
    }
}

/// For how long a statement waits for a lock, as it takes that. Once the time for that is up, as long as
/// other calls keep theirs.
fn patience_with_locks() -> Option<String> {
    const SHORTEST: u128 = 5;
    let left = deadline::LOCKS
        .current()?
        .saturating_duration_since(Instant::now());
    Some(format!("{}ms", left.as_millis().max(SHORTEST)))
}

fn reads<'a>(keys: &[&'a Key]) -> Vec<Result<Call<'a>, Error>> {
    keys.iter().map(|key| Ok(Call::of(key))).collect()
}

/// What a write says that found its session, or not.
fn found(found: bool, connection: &Connection<'_>) -> Result<(), Error> {
    match connection.interrupted() {
        _ if found => Ok(()),
        None => Err(Error::NotFound),
        // An earlier try may have found it, and ended it.
        Some(cause) => Err(Error::Disconnected(cause.clone())),
    }
}

/// The same for many: the rows name the calls that found theirs.
fn found_each(
    rows: &[Row],
    calls: &[&Call<'_>],
    connection: &Connection<'_>,
) -> Result<Vec<Result<(), Error>>, postgres::Error> {
    let mut are_found = vec![false; calls.len()];
    for row in rows {
        are_found[place(row, 0)?] = true;
    }
    Ok(are_found
        .into_iter()
        .map(|is_found| found(is_found, connection))
        .collect())
}
