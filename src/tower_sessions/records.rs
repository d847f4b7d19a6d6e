//! The calls of tower-sessions on any store, for every version.
//!
//! The types of each version are different. So these functions take the parts of a record.

use std::{error::Error as StdError, fmt, str::FromStr};

use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    AsyncStore, Error, Key, MAX_PERIOD, MIN_PERIOD, Period, Session,
    adapters::{
        json::{self, Data, MAX_DEPTH},
        repeated,
    },
};

/// The largest number of ids that a creation tries. They are random, so nearly always the first is free.
const MAX_IDS: usize = 8;

/// The largest number of expired sessions that one call of [`AsyncStore::prune`] removes.
const PRUNE_LIMIT: u64 = 1_000;

/// An error of tower-sessions.
pub(super) enum Failure {
    Encode(String),
    Decode(String),
    Backend(String),
}

/// The errors of tower-sessions are texts, so the text contains the causes.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text += &format!(": {inner}");
            cause = inner.source();
        }
        match error {
            Error::NotSet => Failure::Decode(text),
            Error::InvalidValue(_) => Failure::Encode(text),
            _ => Failure::Backend(text),
        }
    }
}

/// The default of `I` is a new random id. With several servers, the store chooses its first two characters.
pub(super) async fn create<A: AsyncStore, I: Default + fmt::Display + FromStr>(
    store: &A,
    id: &mut I,
    data: &Data,
    period: Period,
) -> Result<(), Failure> {
    let value = encode(data)?;
    let mut tries = 0;
    loop {
        tries += 1;
        if store.is_sharded() {
            place(store, id)?;
        }
        match store
            .insert_new(&key(id)?, Some(&value), Some(period))
            .await
        {
            // If the outcome is unknown, a session with an id that no visitor gets may exist.
            Err(Error::KeyExists | Error::Disconnected(_) | Error::NotOpen { .. })
                if tries < MAX_IDS =>
            {
                *id = I::default();
            }
            inserted => return Ok(inserted?),
        }
    }
}

/// Gives an id the slot of a new key, and with it a server that is open.
fn place<A: AsyncStore, I: fmt::Display + FromStr>(store: &A, id: &mut I) -> Result<(), Error> {
    let (key, old) = (store.new_key(None)?, id.to_string());
    let new: String = key
        .as_str()
        .chars()
        .take(2)
        .chain(old.chars().skip(2))
        .collect();
    *id = new
        .parse()
        .map_err(|_| Error::other("a new key of the store is not in the alphabet of ids"))?;
    Ok(())
}

pub(super) async fn save<A: AsyncStore>(
    store: &A,
    key: &Key,
    data: &Data,
    period: Period,
) -> Result<(), Failure> {
    let value = encode(data)?;
    Ok(repeated(|| store.set(key, &value, Some(period))).await?)
}

/// Returns the data and the expiry date of a session, or `None` if it is absent.
pub(super) fn loaded(
    found: Result<Session, Error>,
) -> Result<Option<(Data, OffsetDateTime)>, Failure> {
    match found {
        Ok(session) => Ok(Some((decode(&session.value)?, date_after(session.period)))),
        Err(Error::NotFound) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn delete<A: AsyncStore>(store: &A, key: &Key) -> Result<(), Failure> {
    Ok(repeated(|| store.clear(key)).await?)
}

/// Calls [`AsyncStore::prune`] until no expired session is left.
pub(super) async fn delete_expired<A: AsyncStore>(store: &A) -> Result<(), Failure> {
    while store.prune(PRUNE_LIMIT).await? == PRUNE_LIMIT {}
    Ok(())
}

/// The key of a session: its id as in the cookie.
pub(super) fn key(id: &impl fmt::Display) -> Result<Key, Error> {
    Ok(id.to_string().parse()?)
}

/// The time until a date, by the clock of this program.
pub(super) fn period_until(date: OffsetDateTime) -> Period {
    (date - OffsetDateTime::now_utc()).clamp(MIN_PERIOD, MAX_PERIOD)
}

/// The date after a period, by the clock of this program. The last possible date if the session never expires.
fn date_after(left: Period) -> OffsetDateTime {
    OffsetDateTime::now_utc().saturating_add(left)
}

fn encode(data: &Data) -> Result<String, Failure> {
    if !data.values().all(|value| fits(value, MAX_DEPTH)) {
        let why = format!("a value is nested deeper than {MAX_DEPTH} levels");
        return Err(Failure::Encode(why));
    }
    serde_json::to_string(data).map_err(|e| Failure::Encode(e.to_string()))
}

/// Whether the nesting of a value is at most `levels` deep.
fn fits(value: &Value, levels: usize) -> bool {
    match (value, levels.checked_sub(1)) {
        (Value::Array(values), Some(rest)) => values.iter().all(|value| fits(value, rest)),
        (Value::Object(values), Some(rest)) => values.values().all(|value| fits(value, rest)),
        (Value::Array(_) | Value::Object(_), None) => false,
        _ => true,
    }
}

pub(super) fn decode(value: &str) -> Result<Data, Failure> {
    json::decode(value).map_err(|e| Failure::Decode(json::describe(json::NOT_AN_OBJECT, &e)))
}
