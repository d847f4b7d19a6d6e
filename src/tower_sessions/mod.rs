//! The session store of [tower-sessions](https://docs.rs/tower-sessions/0.15) 0.15, for axum and other frameworks on
//! tower.
//!
//! It needs the feature `tower-sessions`. Every [`Offload`] implements [`SessionStore`], so it can be given to a
//! `SessionManagerLayer`. The example `examples/axum.rs` is a site with a login.
//! [`from_sqlx`](crate::guide::from_sqlx) is the guide for users of `tower_sessions_sqlx_store::PostgresStore`.
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
//! # Calls
//!
//! - **`create`** adds a session. If another session has the id of the record, or the connection breaks before the
//!   server has answered, the record gets a new id. An existing session is never overwritten.
//! - **`save`** replaces the data and the expiry date of an existing session. If the session was deleted, moved to
//!   another id by `cycle_id`, has expired or was never created, the error is
//!   [`Backend`](session_store::Error::Backend) and nothing is created. The middleware answers 500 to such a request
//!   and sends no cookie, so a slow request cannot undo a logout.
//! - **`load`** returns the record, or `None` if the session is absent or has expired.
//! - **`delete`** removes the session. Returns `Ok` if there is none.
//! - **`delete_expired`** removes the rows of all expired sessions, in short statements that block no other call.
//!   The task `continuously_delete_expired` ends at its first error. A [`Pruner`](crate::Pruner) does not.
//!
//! A save or delete whose connection breaks is repeated up to three times, so a restart of PostgreSQL causes few
//! errors. Each call has the time limit, the batches and the errors of the [`Offload`].
//!
//! # Errors
//!
//! - [`Decode`](session_store::Error::Decode) if the row is not a record, for example because another program has
//!   written it.
//! - [`Encode`](session_store::Error::Encode) if a value is nested deeper than 126 levels, or if the data is larger
//!   than 256 MiB.
//! - [`Backend`](session_store::Error::Backend) for all other errors.
//!
//! The texts of errors contain no ids and no data.
//!
//! # Expiry dates
//!
//! - The clock of PostgreSQL decides when a session expires. The store sends the time from now to
//!   [`expiry_date`](Record::expiry_date), and computes the date of a loaded record from the remaining time. So a
//!   program whose clock is wrong ends no session early or late, except with `Expiry::AtDateTime`.
//! - A loaded `expiry_date` can be up to 5 ms earlier than the saved one, because the table keeps hundredths of a
//!   second. It can be later by 5 ms plus the duration of the save and the load, which is 10 ms in all on a fast
//!   network.
//! - `Expiry::OnInactivity` extends a session only if the request changes its data, because the middleware saves
//!   nothing otherwise. [`IdleTimeout`] extends a session at each request that reads it, and rarely writes.
//!   `SessionManagerLayer::with_always_save(true)` writes at each request, and makes requests fail that are in progress
//!   while the visitor logs in or out.
//! - A date in the past makes the session expire at once. A date outside of the range of the database becomes the
//!   nearest date in it.
//!
//! # Limits
//!
//! - Do not put a `CachingSessionStore` around this store. It saves to the cache and to the store at the same time.
//!   If the store refuses the save because the session was deleted, the record stays in the cache, and later
//!   requests to this process find it there: the logout is undone. Other processes also keep deleted sessions in
//!   their caches.
//! - If one visitor sends several requests at the same time, the save of the last request to end replaces the
//!   changes of the others, because tower-sessions takes no lock between load and save. To count exactly, use
//!   [`AsyncStore::update`] or a table of your own.
//! - After `Session::flush`, data that the same request inserts is saved under the old id. Call `cycle_id` after
//!   `flush` to get a new one.
//! - `cycle_id` removes the session and creates another one. So a session loses its owner, and its age restarts. Set the
//!   owner with [`AsyncStore::set_owner`] after `cycle_id` and `save`. The key of a session is its id:
//!   `session.id()` as a string, parsed into a [`Key`].
//! - If a handler removes its own session with [`AsyncStore::clear_handle`] or [`AsyncStore::clear_owned`] and then
//!   changes the session, the answer is 500. Call `flush` to log out the visitor of the request.
//! - `Session::clear` does not load the session. If it is the first call of a request and the session is absent,
//!   the save fails and the answer is 500.
//! - `SessionManagerLayer` removes its cookie without the attribute `Secure`. Browsers ignore that if the name of
//!   the cookie begins with `__Host-` or `__Secure-`, so do not use these prefixes.
//!
//! # Rows
//!
//! The key of a session is its id as in the cookie, 22 characters. The value is the record's
//! [`data`](Record::data) as a JSON object. Other programs can read and write these sessions with [`Store::get`],
//! [`Store::set`] and [`Store::insert`].

mod idle_timeout;

use std::{collections::HashMap, error::Error as StdError, fmt};

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;
use tower_sessions_core::{
    ExpiredDeletion, SessionStore,
    session::{Id, Record},
    session_store,
};

pub use self::idle_timeout::IdleTimeout;
use crate::{AsyncStore, Error, Key, MAX_PERIOD, MIN_PERIOD, Offload, Period, Session, Store};

/// The largest number of ids that a creation tries. They are random, so nearly always the first is free.
const MAX_IDS: usize = 8;

/// The largest number of attempts at a write whose connection breaks. Repeating a write is safe: the last save wins
/// in any case, and a save does not restore a deleted session.
const MAX_WRITES: usize = 4;

/// The largest number of expired sessions that one call of [`Store::prune`] removes.
const PRUNE_LIMIT: u64 = 1_000;

/// The deepest nesting of a value. `serde_json` writes deeper values but cannot read them.
const MAX_DEPTH: usize = 126;

/// See the module [`tower_sessions`](self).
#[async_trait]
impl<S: Store + fmt::Debug> SessionStore for Offload<S> {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        let period = period_until(record.expiry_date);
        create(self, record, period).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        save(self, record, period_until(record.expiry_date)).await
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        to_record(id, self.get(&key(id)?).await)
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        delete(self, id).await
    }
}

async fn create<A: AsyncStore>(
    store: &A,
    record: &mut Record,
    period: Period,
) -> session_store::Result<()> {
    let value = encode(&record.data)?;
    let mut tries = 0;
    loop {
        tries += 1;
        match store
            .insert(&key(&record.id)?, Some(&value), Some(period))
            .await
        {
            // If the outcome is unknown, a session with an id that no visitor gets may exist.
            Err(Error::KeyExists | Error::Disconnected(_)) if tries < MAX_IDS => {
                record.id = Id::default();
            }
            inserted => return Ok(inserted?),
        }
    }
}

async fn save<A: AsyncStore>(
    store: &A,
    record: &Record,
    period: Period,
) -> session_store::Result<()> {
    let (key, value) = (key(&record.id)?, encode(&record.data)?);
    for _ in 1..MAX_WRITES {
        match store.set(&key, &value, Some(period)).await {
            Err(Error::Disconnected(_)) => {}
            set => return Ok(set?),
        }
    }
    Ok(store.set(&key, &value, Some(period)).await?)
}

fn to_record(id: &Id, found: Result<Session, Error>) -> session_store::Result<Option<Record>> {
    match found {
        Ok(session) => Ok(Some(Record {
            id: *id,
            data: decode(&session.value)?,
            expiry_date: date_after(session.period),
        })),
        Err(Error::NotFound) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

async fn delete<A: AsyncStore>(store: &A, id: &Id) -> session_store::Result<()> {
    let key = key(id)?;
    for _ in 1..MAX_WRITES {
        match store.clear(&key).await {
            Err(Error::Disconnected(_)) => {}
            cleared => return Ok(cleared?),
        }
    }
    Ok(store.clear(&key).await?)
}

/// Calls [`Store::prune`] until no expired session is left.
#[async_trait]
impl<S: Store + fmt::Debug> ExpiredDeletion for Offload<S> {
    async fn delete_expired(&self) -> session_store::Result<()> {
        while self.prune(PRUNE_LIMIT).await? == PRUNE_LIMIT {}
        Ok(())
    }
}

/// The errors of tower-sessions are texts, so the text contains the causes.
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

/// The key of a session: its id as in the cookie.
fn key(id: &Id) -> Result<Key, Error> {
    Ok(id.to_string().parse()?)
}

/// The time until a date, by the clock of this program.
fn period_until(date: OffsetDateTime) -> Period {
    (date - OffsetDateTime::now_utc()).clamp(MIN_PERIOD, MAX_PERIOD)
}

/// The date after a period, by the clock of this program. The last possible date if the session never expires.
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

/// Whether the nesting of a value is at most `levels` deep.
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
        // The text of `e` may quote the value.
        let (line, column) = (e.line(), e.column());
        let why =
            format!("the value of the session is not a JSON object: line {line}, column {column}");
        session_store::Error::Decode(why)
    })
}
