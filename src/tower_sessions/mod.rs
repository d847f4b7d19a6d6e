//! The session store of [tower-sessions](https://docs.rs/tower-sessions), for axum and other frameworks on tower.
//!
//! The feature `tower-sessions` is for version 0.15, and `tower-sessions-0-14` for 0.14. If both features are on, the
//! types of this module implement the traits of both versions.
//!
//! Every [`Offload`] implements [`SessionStore`], so it can be given to a `SessionManagerLayer`. [`Adapter`] is for
//! every other [`AsyncStore`], and [`IdleTimeout`] renews the sessions that are used. The example `examples/axum.rs` is
//! a site with a login. [`from_sqlx`](crate::guide::from_sqlx) is the guide for users of
//! `tower_sessions_sqlx_store::PostgresStore`.
//!
//! ```
//! use axum::{Router, routing::get};
//! use session_postgres::Offload;
//! # #[cfg(not(feature = "tower-sessions"))]
//! # use tower_sessions_0_14 as tower_sessions;
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
//!   server has answered, the record gets a new id. An existing session is never overwritten. In a
//!   [`Sharded`](crate::Sharded) store, each record gets an id on a server that is open.
//! - **`save`** replaces the data and the expiry date of an existing session. If the session was deleted, moved to
//!   another id by `cycle_id`, has expired or was never created, the error is
//!   [`Backend`](session_store::Error::Backend) and nothing is created. The middleware answers 500 to such a request
//!   and sends no cookie, so the save of a slow request cannot undo a logout.
//! - **`load`** returns the record, or `None` if the session is absent or has expired.
//! - **`delete`** removes the session. Returns `Ok` if there is none.
//! - **`delete_expired`** removes the rows of all expired sessions, in short statements that block no other call.
//!   The task `continuously_delete_expired` ends at its first error. A [`Pruner`](crate::Pruner) does not.
//!
//! A save or delete whose connection breaks is repeated up to three times, so a restart of PostgreSQL causes few
//! errors. Each attempt has the time limit of a call of the [`Offload`], so a save or delete can take up to four times
//! as long. A `create` makes up to eight attempts, and a save of an [`IdleTimeout`] up to five. A call has the batches
//! and the errors of the [`Offload`].
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
//! - If a request begins after a login but has the cookie from before, tower-sessions finds no session, and its answer
//!   removes the cookie. A browser that sends several requests at once may then be logged out.
//! - `cycle_id` removes the session and creates another one. So a session loses its owner, and its age restarts. Set the
//!   owner with [`AsyncStore::set_owner`] after `cycle_id` and `save`. The key of a session is its id:
//!   `session.id()` as a string, parsed into a [`Key`].
//! - If a request has read its session, another request logs the visitor out, and the first one calls `cycle_id` then, the
//!   session exists again under the new id. Call `cycle_id` only where visitors have just proven who they are, as at a
//!   login.
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
//! [`Store::set`] and [`Store::insert`]. Both versions of tower-sessions store the same rows.

mod adapter;
mod idle_timeout;
mod records;
#[cfg(feature = "tower-sessions-0-14")]
mod v0_14;
#[cfg(feature = "tower-sessions")]
mod v0_15;

// For the links above.
#[cfg(all(doc, feature = "tower-sessions"))]
use tower_sessions_core::{SessionStore, session::Record, session_store};
#[cfg(all(doc, not(feature = "tower-sessions")))]
use tower_sessions_core_0_14::{SessionStore, session::Record, session_store};

pub use self::{adapter::Adapter, idle_timeout::IdleTimeout};
#[cfg(doc)]
use crate::{AsyncStore, Key, Offload, Store};
