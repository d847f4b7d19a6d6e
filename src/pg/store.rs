//! The verbs, each as the statement it sends and what its rows mean.

use postgres::{Row, types::ToSql};

use super::{
    PostgresStore,
    batch::{self, Call, SameKey, micros, periods, place, values},
    connection::Connection,
    row::Found,
};
use crate::{Error, Key, Period, Session, Store, session::check_value};

impl Store for PostgresStore {
    fn default_period(&self) -> Period {
        self.default_period.get()
    }

    fn set_default_period(&self, period: Period) {
        self.default_period.set(period);
    }

    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        let key = Key::generate()?;
        let call = self.write(&key, value, expiry)?;
        self.run(|connection| {
            if connection.interrupted().is_some() {
                return self.add_absent(connection, &[&call]).map(drop);
            }
            let params: &[&(dyn ToSql + Sync)] = &[&key.as_str(), &call.micros, &call.value];
            connection.query(&self.sql.generate, params).map(drop)
        })?;
        Ok(key)
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.run(|connection| connection.query(&self.sql.clear, &[&key.as_str()]))?;
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        self.run(|connection| Found::longest(&connection.query(&self.sql.get, &[&key.as_str()])?))?
            .ok_or(Error::NotFound)?
            .into_session()
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.write(key, Some(value), expiry)?;
        let rows = self.run(|connection| {
            connection.query(&self.sql.set, &[&key.as_str(), &call.micros, &call.value])
        })?;
        found(&rows)
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.write(key, value, expiry)?;
        self.run(|connection| {
            let added = self.add_absent(connection, &[&call])?;
            Ok(inserted(added == [true], connection))
        })?
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        let call = self.write(key, None, expiry)?;
        let rows = self
            .run(|connection| connection.query(&self.sql.touch, &[&key.as_str(), &call.micros]))?;
        found(&rows)
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        let new = Key::generate()?;
        let moved = self.run(|connection| {
            let rows = connection.query(&self.sql.rotate, &[&key.as_str(), &new.as_str()])?;
            if rows.is_empty() && connection.interrupted().is_some() {
                // Nobody else knows the new key: where it is there, an earlier try has put it there.
                let rows = connection.query(&self.sql.get, &[&new.as_str()])?;
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
        let done = batch::each(writes.collect(), SameKey::Shares, |calls| {
            self.run(|connection| {
                if connection.interrupted().is_some() {
                    self.add_absent(connection, calls)?;
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
        batch::each(reads(keys), SameKey::Shares, |calls| {
            self.run(|connection| connection.query(&self.sql.clear_many, &[&batch::keys(calls)]))?;
            Ok(calls.iter().map(|_| Ok(())).collect())
        })
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        batch::each(reads(keys), SameKey::Shares, |calls| {
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
        batch::each(writes.collect(), SameKey::TakesTurns, |calls| {
            let params = (batch::keys(calls), periods(calls), values(calls));
            self.run(|connection| {
                found_each(
                    &connection.query(&self.sql.set_many, &[&params.0, &params.1, &params.2])?,
                    calls,
                )
            })
        })
    }

    fn insert_many(
        &self,
        calls: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        let writes = calls
            .iter()
            .map(|(key, value, expiry)| self.write(key, *value, *expiry));
        batch::each(writes.collect(), SameKey::TakesTurns, |calls| {
            self.run(|connection| {
                let added = self.add_absent(connection, calls)?;
                Ok(added
                    .into_iter()
                    .map(|added| inserted(added, connection))
                    .collect())
            })
        })
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        let writes = calls
            .iter()
            .map(|(key, expiry)| self.write(key, None, *expiry));
        batch::each(writes.collect(), SameKey::TakesTurns, |calls| {
            let params = (batch::keys(calls), periods(calls));
            self.run(|connection| {
                found_each(
                    &connection.query(&self.sql.touch_many, &[&params.0, &params.1])?,
                    calls,
                )
            })
        })
    }
}

/// How often an insert is sent again whose row was neither put in nor seen.
const MAX_ADDS: usize = 10;

impl PostgresStore {
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

    /// Adds the sessions whose keys no living session has, and says of each whether it was added.
    fn add_absent(
        &self,
        connection: &mut Connection<'_>,
        calls: &[&Call<'_>],
    ) -> Result<Vec<bool>, postgres::Error> {
        let mut added = vec![false; calls.len()];
        let mut open: Vec<usize> = (0..calls.len()).collect();
        for _ in 0..MAX_ADDS {
            let sent: Vec<&Call<'_>> = open.iter().map(|call| calls[*call]).collect();
            let params = (batch::keys(&sent), periods(&sent), values(&sent));
            let rows =
                connection.query(&self.sql.insert_many, &[&params.0, &params.1, &params.2])?;
            let mut undecided = Vec::new();
            for row in &rows {
                let call = open[place(row, 0)?];
                let (is_new, is_living): (bool, bool) = (row.try_get(1)?, row.try_get(2)?);
                added[call] = is_new;
                if !is_new && !is_living {
                    undecided.push(call);
                }
            }
            if undecided.is_empty() {
                break;
            }
            open = undecided;
        }
        Ok(added)
    }
}

fn reads<'a>(keys: &[&'a Key]) -> Vec<Result<Call<'a>, Error>> {
    keys.iter().map(|key| Ok(Call::of(key))).collect()
}

/// What an insert says that added its session, or found one there.
fn inserted(added: bool, connection: &Connection<'_>) -> Result<(), Error> {
    match connection.interrupted() {
        _ if added => Ok(()),
        None => Err(Error::KeyExists),
        // It may be this call's own session, which an earlier try has put there.
        Some(cause) => Err(Error::Disconnected(cause.clone())),
    }
}

/// What a write says whose statement answers with a row for each session it found.
fn found(rows: &[Row]) -> Result<(), Error> {
    if rows.is_empty() {
        Err(Error::NotFound)
    } else {
        Ok(())
    }
}

/// The same for many: the rows name the calls.
fn found_each(
    rows: &[Row],
    calls: &[&Call<'_>],
) -> Result<Vec<Result<(), Error>>, postgres::Error> {
    let mut results: Vec<_> = calls.iter().map(|_| Err(Error::NotFound)).collect();
    for row in rows {
        results[place(row, 0)?] = Ok(());
    }
    Ok(results)
}
