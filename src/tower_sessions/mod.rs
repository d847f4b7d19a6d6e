//! The facade as a store of [tower-sessions](https://docs.rs/tower-sessions/0.15) 0.15, with the feature
//! `tower-sessions`.
//!
//! Any [`Offload`] is a [`SessionStore`]: give it to the `SessionManagerLayer`. A load, a save, a creation
//! and a deletion are its [`get`](AsyncStore::get), [`set`](AsyncStore::set),
//! [`insert`](AsyncStore::insert) and [`clear`](AsyncStore::clear): those that wait share a trip, and its
//! limits and errors hold. `examples/axum.rs` is a site on it, with a login. The guide
//! [`from_sqlx`](crate::guide::from_sqlx) describes how to move from `tower_sessions_sqlx_store::PostgresStore`.
//!
//! ```
//! use axum::{Router, routing::get};
//! use session_postgres::Offload;
//! use tower_sessions::{Expiry, Session, SessionManagerLayer, cookie::{SameSite, time::Duration}};
//!
//! async fn visit(session: Session) -> Result<String, String> {
//!     let visits: u64 = session.get("visits").await.map_err(|e| e.to_string())?.unwrap_or(0);
//!     session.insert("visits", visits + 1).await.map_err(|e| e.to_string())?;
//!     Ok(format!("Visit {}", visits + 1))
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = throwaway_postgres::Server::start()?;
//! # let database_url = server.url();
//! let store = Offload::connect(database_url).await?;
//! store.run(|store| store.create_table()).await??;
//!
//! let sessions = SessionManagerLayer::new(store)
//!     .with_same_site(SameSite::Lax)
//!     .with_expiry(Expiry::OnInactivity(Duration::minutes(30)));
//! let site: Router = Router::new().route("/", get(visit)).layer(sessions);
//! # let request = axum::http::Request::new(axum::body::Body::empty());
//! # let answer = tower::ServiceExt::oneshot(site, request).await?;
//! # assert!(answer.headers().contains_key("set-cookie"));
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - **Creating takes over nobody's session.** Where a living session has the record's id already, the
//!   record gets a new one.
//! - **Saving creates nothing and brings nothing back.** A record whose session was deleted, cycled to
//!   another id or has expired in the meantime is [`Backend`](session_store::Error::Backend), and so is
//!   one that was never created. tower-sessions' `MemoryStore` and sqlx stores would put the row back, the
//!   logout undone; its Redis store says that all is well. The middleware takes success as leave to send
//!   the id in a cookie: a request that was under way during a login would put the dead id over the new
//!   one, and the visitor be logged out. At an error it sends none, and answers 500 to that one request.
//! - **Expired sessions** are deleted in small trips by `delete_expired`, which blocks nobody. The task of
//!   `continuously_delete_expired` ends at its first error, as tower-sessions has it.
//! - **Loading** an absent session and an expired one is `None`. **Deleting** an absent one is fine.
//! - **PostgreSQL's clock alone decides.** What goes to the server is a period, from the program's now to
//!   [`expiry_date`](Record::expiry_date), and a loaded record's date is the program's now and what the
//!   session has left. So where a program's clock is wrong, or each node has another, no session ends
//!   early and none late. Only `Expiry::AtDateTime` means what the clock of the program makes of it.
//! - **An expiry that is past** makes the session expired at once. One that is out of the database's range
//!   becomes the nearest that is not.
//! - **Errors hold no ids and no data.** A row that is no record, for example another program's, is
//!   [`Decode`](session_store::Error::Decode). Data that would not come back as they are, nested deeper than
//!   126 levels or larger than 256 MiB, are [`Encode`](session_store::Error::Encode).
//!
//! # What it cannot promise
//!
//! tower-sessions loads at the first use of a session in a request, and saves when the request ends, with
//! no lock between: of requests of one visitor at the same time, the last to end wins, all that the others
//! have changed included. What has to be counted exactly belongs into
//! [`AsyncStore::update`], or into a table of its own.
//!
//! After `Session::flush`, data inserted within the same request come under the old id again, with all other
//! data gone; call `cycle_id` where that matters. `Session::clear` before anything was read takes the id of
//! the cookie at its word: where that session is gone, the request is answered with 500.
//!
//! A save or a delete is made again if its connection broke before the server had answered, up to three times.
//! So visitors do not notice that the server is restarted.
//!
//! A `CachingSessionStore` fills its cache by saving, so this store will do behind it, and not as its cache.
//! Another node's cache still has what was deleted.
//!
//! `SessionManagerLayer` removes its cookie without the attribute `Secure`, so browsers refuse to remove one
//! whose name begins with `__Host-` or `__Secure-`: do without these.
//!
//! # The row
//!
//! The key is the id as the cookie has it, 22 characters; the value is [`data`](Record::data), and nothing
//! else, as a JSON object. It is the table of everybody else's sessions: another program can read them by
//! [`Store::get`], write them by [`Store::set`], and make one by [`Store::insert`].

use std::{collections::HashMap, error::Error as StdError, fmt};

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;
use tower_sessions_core::{
    ExpiredDeletion, SessionStore,
    session::{Id, Record},
    session_store,
};

use crate::{
    AsyncStore, Error, Key, MAX_PERIOD, MIN_PERIOD, Offload, Period, PostgresStore, Store,
};

/// How many ids are tried for a session. They are random, so that even the second is always free.
const MAX_IDS: usize = 8;

/// How often a write is made whose outcome is unknown because its connection broke. The last of the requests of
/// a visitor wins in any case, and a session that was deleted meanwhile does not come back.
const MAX_WRITES: usize = 4;

/// How many expired sessions are deleted at once.
const EXPIRED_A_TRIP: u64 = 1_000;

/// How deep each of the data may be nested: a deeper one could be written as JSON, and not be read again.
const MAX_DEPTH: usize = 126;

/// See [`tower_sessions`](self).
#[async_trait]
impl<S: Store + fmt::Debug> SessionStore for Offload<S> {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        let value = encode(&record.data)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let (key, period) = (key(&record.id)?, period_until(record.expiry_date));
            match self.insert(&key, Some(&value), Some(period)).await {
                // If the outcome is unknown, the session may be there under an id that no visitor gets.
                Err(Error::KeyExists | Error::Disconnected(_)) if tries < MAX_IDS => {
                    record.id = Id::default();
                }
                inserted => return Ok(inserted?),
            }
        }
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let (key, value) = (key(&record.id)?, encode(&record.data)?);
        let period = period_until(record.expiry_date);
        for _ in 1..MAX_WRITES {
            match self.set(&key, &value, Some(period)).await {
                Err(Error::Disconnected(_)) => {}
                set => return Ok(set?),
            }
        }
        Ok(self.set(&key, &value, Some(period)).await?)
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        match self.get(&key(id)?).await {
            Ok(session) => Ok(Some(Record {
                id: *id,
                data: decode(&session.value)?,
                expiry_date: date_after(session.period),
            })),
            Err(Error::NotFound) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        let key = key(id)?;
        for _ in 1..MAX_WRITES {
            match self.clear(&key).await {
                Err(Error::Disconnected(_)) => {}
                cleared => return Ok(cleared?),
            }
        }
        Ok(self.clear(&key).await?)
    }
}

/// By [`PostgresStore::prune`], in as many trips as it takes, each alone in a lane.
#[async_trait]
impl ExpiredDeletion for Offload<PostgresStore> {
    async fn delete_expired(&self) -> session_store::Result<()> {
        while self.run(|store| store.prune(EXPIRED_A_TRIP)).await?? == EXPIRED_A_TRIP {}
        Ok(())
    }
}

/// An error in tower-sessions' terms, which are texts, so that those of its causes go along.
impl From<Error> for session_store::Error {
    fn from(error: Error) -> session_store::Error {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text += &format!(": {inner}");
            cause = inner.source();
        }
        match error {
            Error::NotSet => session_store::Error::Decode(text),
            Error::InvalidValue(_) => session_store::Error::Encode(text),
            _ => session_store::Error::Backend(text),
        }
    }
}

/// As it is in the cookie.
fn key(id: &Id) -> Result<Key, Error> {
    Ok(id.to_string().parse()?)
}

/// What to ask for, so that a session ends at a date by this program's clock.
fn period_until(date: OffsetDateTime) -> Period {
    (date - OffsetDateTime::now_utc()).clamp(MIN_PERIOD, MAX_PERIOD)
}

/// When a session ends, by this program's clock; one that never does, at the last date that there is.
fn date_after(left: Period) -> OffsetDateTime {
    OffsetDateTime::now_utc().saturating_add(left)
}

fn encode(data: &HashMap<String, Value>) -> session_store::Result<String> {
    if !data.values().all(|value| fits(value, MAX_DEPTH)) {
        let why = format!("a value is nested deeper than {MAX_DEPTH} levels");
        return Err(session_store::Error::Encode(why));
    }
    serde_json::to_string(data).map_err(|e| session_store::Error::Encode(e.to_string()))
}

/// Whether a value is nested no deeper than so many levels.
fn fits(value: &Value, levels: usize) -> bool {
    match (value, levels.checked_sub(1)) {
        (Value::Array(values), Some(rest)) => values.iter().all(|value| fits(value, rest)),
        (Value::Object(values), Some(rest)) => values.values().all(|value| fits(value, rest)),
        (Value::Array(_) | Value::Object(_), None) => false,
        _ => true,
    }
}

fn decode(value: &str) -> session_store::Result<HashMap<String, Value>> {
    serde_json::from_str(value).map_err(|e| {
        // Its own text may quote the value.
        let (line, column) = (e.line(), e.column());
        let why = format!("the session's value is no JSON object: line {line}, column {column}");
        session_store::Error::Decode(why)
    })
}
