//! The session store of [actix-session](https://docs.rs/actix-session/0.11) 0.11, for actix-web 4.
//!
//! It needs the feature `actix-session`. An [`Adapter`] around any [`AsyncStore`] implements [`SessionStore`], so it can
//! be given to a `SessionMiddleware`. The example `examples/actix.rs` is a site with a login.
//!
//! ```
//! use actix_session::{Session, SessionMiddleware, config::PersistentSession};
//! use actix_web::{App, HttpServer, Result, cookie::Key, middleware::from_fn, web};
//! use session_postgres::{Offload, Period, actix_session::{Adapter, conflict_if_ended}};
//!
//! async fn visit(session: Session) -> Result<String> {
//!     let visits = session.get::<u64>("visits")?.unwrap_or(0) + 1;
//!     session.insert("visits", visits)?;
//!     Ok(format!("Visit {visits}"))
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #   let server = throwaway_postgres::Server::start()?;
//! #   let database_url = server.url();
//!     let store = Offload::connect(database_url).await?;
//!     store.run(|store| store.create_table()).await??;
//!
//!     // Signs the cookies. Use the same key at each start and on all machines.
//!     let key = Key::generate();
//!     let site = move || {
//!         let half_an_hour = PersistentSession::default().session_ttl(Period::minutes(30));
//!         let sessions = SessionMiddleware::builder(Adapter::new(store.clone()), key.clone())
//!             .session_lifecycle(half_an_hour);
//!         App::new()
//!             .route("/", web::get().to(visit))
//!             .wrap(sessions.build())
//!             .wrap(from_fn(conflict_if_ended))
//!     };
//! #   use actix_web::test::{TestRequest, call_service, init_service};
//! #   let request = TestRequest::get().uri("/").to_request();
//! #   let answer = call_service(&init_service(site()).await, request).await;
//! #   assert!(answer.headers().contains_key("set-cookie"));
//! #   if false {
//!     HttpServer::new(site).bind("127.0.0.1:3000")?.run().await?;
//! #   }
//!     Ok(())
//! }
//! ```
//!
//! Each worker of actix-web has its own runtime. An [`Offload`](crate::Offload) may be used from all of them: give each
//! worker a clone, so that they share the connections and the batches.
//!
//! # Calls
//!
//! - **`load`** returns the state of the session, or `None` if the session is absent or has expired, or if the text in
//!   the cookie cannot be a [`Key`]. The middleware then begins a session with a new key. So a key that a client has
//!   invented never becomes a session.
//! - **`save`** creates a session with a new key.
//! - **`update`** replaces the state and the expiry date of an existing session. If the session was deleted, got another
//!   key or has expired, this is an error and nothing is created.
//! - **`update_ttl`** changes the expiry date of an existing session, and is an error in the same cases.
//! - **`delete`** removes the session. Returns `Ok` if there is none.
//!
//! A call whose connection breaks is repeated up to three times, so a restart of PostgreSQL causes few errors. Each
//! attempt has the time limit of a call of the store, so a write can take up to four times as long. A call has the
//! batches and the errors of the store.
//!
//! # A session that ends during a request
//!
//! A request loads its session, and in the meantime another request of the visitor logs out or gets a new key by
//! `Session::renew`. Then `update` and `update_ttl` fail. The answer has no cookie, so it can neither undo the logout nor
//! replace the visitor's new cookie by one with the old key.
//!
//! The middleware would send the cookie with the old key if these calls returned `Ok`, and the visitor would be logged
//! out. It answers 500 to every error of a store, and an error cannot choose another status. [`conflict_if_ended`], which
//! is wrapped around the middleware, changes the answer in this case only to 409 (Conflict). The visitor can repeat the
//! request: the browser then sends the new cookie, or none.
//!
//! | request whose session has ended | without `conflict_if_ended` | with it |
//! |---|---|---|
//! | changes the session | 500, no cookie | 409, no cookie |
//! | only reads it, with `TtlExtensionPolicy::OnStateChanges`, the default | its own answer, no cookie | the same |
//! | only reads it, with `TtlExtensionPolicy::OnEveryRequest` | 500, no cookie | 409, no cookie |
//! | calls `purge` | its own answer, removes the cookie | the same |
//! | calls `renew` | its own answer, a new session; see [Limits](#limits) | the same |
//!
//! # Errors
//!
//! - [`Deserialization`](LoadError::Deserialization) if the row has no value, or a value that is not a JSON object, for
//!   example because another program has written it. The middleware continues with an empty state. If the request changes
//!   it, the row is overwritten.
//! - [`Serialization`](SaveError::Serialization) if an entry is not JSON, if an entry is nested deeper than 126 levels, or
//!   if the state cannot be stored, for example because it is larger than 256 MiB. serde_json can write deeper entries
//!   but cannot read them. If another program has stored such an entry, `load` accepts it, and each update fails until
//!   it is removed from the state.
//! - [`Other`](LoadError::Other) for all other errors. The middleware answers 500.
//!
//! The texts of errors contain no keys and no data. The causes are in their `Debug` output.
//!
//! # Expiry dates
//!
//! - `BrowserSession::state_ttl` and `PersistentSession::session_ttl` set the time until a session expires, by the clock of
//!   PostgreSQL. The default of actix-session is one day. The default period of the store is not used.
//! - With `TtlExtensionPolicy::OnStateChanges`, only a request that changes the session extends it. With `OnEveryRequest`,
//!   each request writes.
//! - A time of zero or less makes the session expire at once. A time that the database cannot store becomes the nearest
//!   one that it can.
//!
//! # Owners
//!
//! actix-session does not tell a handler the key that the session will have. So an [`Adapter`] can set the owner of a
//! session, by which all logins of a user are found: see [`Adapter::with_owner`].
//!
//! # Limits
//!
//! - If one visitor sends several requests at the same time, the last of them to end replaces the changes of the others,
//!   because actix-session takes no lock between `load` and `update`. To count exactly, use [`AsyncStore::update`] or a
//!   table of your own.
//! - `Session::renew` removes the session and creates another one with the state that the request has loaded, so its age
//!   restarts. A request that calls it next to a logout creates a session after the logout. So call it only at a login,
//!   after the password was checked.
//! - If a handler removes its own session with [`AsyncStore::clear_handle`] or [`AsyncStore::clear_owned`] and then
//!   changes the session, the update fails. Call `purge` to log out the visitor of the request.
//! - actix-session saves changes even if the answer of the handler is an error.
//!
//! # Rows
//!
//! The key of a session is the text that the signed or encrypted cookie contains: 40 characters. Keys that other stores
//! for actix-session have created have 64 characters. They are sessions if the table contains them, which needs a column
//! of the type `text` or `varchar`. In the recommended table they are not, so their visitors get a new session.
//!
//! The value is the state as a JSON object. It has the format of the rows of tower-sessions, so that one table serves
//! both. Other programs can read and write these sessions with [`Store::get`] and [`Store::set`].

mod conflict;

use std::{collections::HashMap, sync::Arc};

use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use serde_json::{Value, value::RawValue};

pub use self::conflict::conflict_if_ended;
#[cfg(doc)]
use crate::Store;
use crate::{
    AsyncStore, Error, Key, MAX_PERIOD, MIN_PERIOD, Period, SessionFields,
    adapters::{
        json::{self, MAX_DEPTH},
        repeated,
    },
};

/// A session store of actix-session in any [`AsyncStore`]. See the [module](self).
#[derive(Debug, Clone)]
pub struct Adapter<A> {
    store: A,
    owner: Option<Arc<str>>,
}

impl<A: AsyncStore> Adapter<A> {
    /// Returns an adapter for a store.
    pub fn new(store: A) -> Adapter<A> {
        Adapter { store, owner: None }
    }

    /// Makes an entry of the state the owner of the session: a text or a number, for example the id of the user.
    ///
    /// The owner is set when the session gets its key. So call `Session::renew` at the login, which is necessary in any
    /// case. Insert the entry in the same request. Then no session is logged in and has no owner, and
    /// [`AsyncStore::owned`], [`AsyncStore::clear_handle`] and [`AsyncStore::clear_owned`] find all logins of a user. If
    /// the entry changes later, the owner does not.
    ///
    /// If the connection breaks while `save` creates the session, it creates another one, because the first may not exist.
    /// If the first does exist, no visitor has its key, but [`AsyncStore::owned`] returns it until it expires.
    ///
    /// actix-identity stores the user in the entry `actix_identity.user_id`.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_session::storage::SessionStore;
    /// use session_postgres::{AsyncStore, MemoryStore, Offload, Period, actix_session::Adapter};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Offload::new(MemoryStore::new());
    /// let adapter = Adapter::new(store.clone()).with_owner("user");
    ///
    /// // The middleware does this after a handler has called `session.insert("user", "Ada")`.
    /// let state = [("user".to_owned(), "\"Ada\"".to_owned())];
    /// adapter.save(state.into(), &Period::HOUR).await?;
    /// assert_eq!(store.owned("Ada").await?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_owner(self, entry: &str) -> Adapter<A> {
        Adapter {
            owner: Some(entry.into()),
            ..self
        }
    }

    fn owner(&self, state: &HashMap<String, String>) -> Result<Option<String>, SaveError> {
        let entry = self.owner.as_deref().and_then(|entry| state.get(entry));
        match entry.map(|json| serde_json::from_str(json)) {
            None | Some(Ok(Value::Null)) => Ok(None),
            Some(Ok(Value::String(owner))) => Ok(Some(owner)),
            Some(Ok(Value::Number(owner))) => Ok(Some(owner.to_string())),
            Some(_) => {
                let why = "the owner of a session must be a text or a number";
                Err(SaveError::Serialization(anyhow::Error::msg(why)))
            }
        }
    }
}

impl<A: AsyncStore> SessionStore for Adapter<A> {
    async fn load(
        &self,
        session_key: &SessionKey,
    ) -> Result<Option<HashMap<String, String>>, LoadError> {
        let Ok(key) = session_key.as_ref().parse::<Key>() else {
            return Ok(None);
        };
        match self.store.get(&key).await {
            Ok(session) => match decode(&session.value) {
                Ok(state) => Ok(Some(state)),
                Err(why) => Err(LoadError::Deserialization(why)),
            },
            Err(Error::NotFound) => Ok(None),
            Err(Error::NotSet) => Err(LoadError::Deserialization(Error::NotSet.into())),
            Err(error) => Err(LoadError::Other(error.into())),
        }
    }

    async fn save(
        &self,
        session_state: HashMap<String, String>,
        ttl: &Period,
    ) -> Result<SessionKey, SaveError> {
        let owner = self.owner(&session_state)?;
        let value = encode(session_state).map_err(SaveError::Serialization)?;
        let fields = SessionFields {
            value: Some(&value),
            expiry: Some(period(ttl)),
            owner: owner.as_deref(),
        };
        match repeated(|| self.store.generate_with(fields)).await {
            Ok(key) => {
                SessionKey::try_from(String::from(key)).map_err(|e| SaveError::Other(e.into()))
            }
            Err(error) if is_about_data(&error) => Err(SaveError::Serialization(error.into())),
            Err(error) => Err(SaveError::Other(error.into())),
        }
    }

    async fn update(
        &self,
        session_key: SessionKey,
        session_state: HashMap<String, String>,
        ttl: &Period,
    ) -> Result<SessionKey, UpdateError> {
        let value = encode(session_state).map_err(UpdateError::Serialization)?;
        let written = match session_key.as_ref().parse::<Key>() {
            Ok(key) => repeated(|| self.store.set(&key, &value, Some(period(ttl)))).await,
            Err(_) => Err(Error::NotFound),
        };
        match written.inspect_err(conflict::note) {
            Ok(()) => Ok(session_key),
            Err(error) if is_about_data(&error) => Err(UpdateError::Serialization(error.into())),
            Err(error) => Err(UpdateError::Other(error.into())),
        }
    }

    async fn update_ttl(
        &self,
        session_key: &SessionKey,
        ttl: &Period,
    ) -> Result<(), anyhow::Error> {
        let written = match session_key.as_ref().parse::<Key>() {
            Ok(key) => repeated(|| self.store.touch(&key, Some(period(ttl)))).await,
            Err(_) => Err(Error::NotFound),
        };
        Ok(written.inspect_err(conflict::note)?)
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<(), anyhow::Error> {
        match session_key.as_ref().parse::<Key>() {
            Ok(key) => Ok(repeated(|| self.store.clear(&key)).await?),
            Err(_) => Ok(()),
        }
    }
}

fn period(ttl: &Period) -> Period {
    (*ttl).clamp(MIN_PERIOD, MAX_PERIOD)
}

fn is_about_data(error: &Error) -> bool {
    matches!(error, Error::InvalidValue(_) | Error::InvalidOwner(_))
}

/// Each entry of a state is JSON. It is stored as it is, so that large numbers do not change.
///
/// A [`RawValue`] accepts any depth of nesting, numbers out of range and halves of surrogate pairs. So this reads the
/// result, as the other frameworks do, and refuses a state that they cannot read.
fn encode(state: HashMap<String, String>) -> Result<String, anyhow::Error> {
    let mut entries: HashMap<String, Box<RawValue>> = HashMap::with_capacity(state.len());
    for (name, json) in state {
        let json = RawValue::from_string(json).map_err(describe("an entry is not JSON"))?;
        entries.insert(name, json);
    }
    let value = serde_json::to_string(&entries)?;
    json::decode(&value).map_err(|e| {
        let why = format!("an entry is nested deeper than {MAX_DEPTH} levels, or cannot be read");
        describe(&why)(e)
    })?;
    Ok(value)
}

fn decode(value: &str) -> Result<HashMap<String, String>, anyhow::Error> {
    let entries: HashMap<String, Box<RawValue>> =
        serde_json::from_str(value).map_err(describe(json::NOT_AN_OBJECT))?;
    let to_text = |(name, json): (String, Box<RawValue>)| (name, json.get().to_owned());
    Ok(entries.into_iter().map(to_text).collect())
}

fn describe(what: &str) -> impl Fn(serde_json::Error) -> anyhow::Error + '_ {
    move |error| anyhow::Error::msg(json::describe(what, &error))
}
