//! A session store of tower-sessions that renews each session that it loads.

use std::fmt;

use async_trait::async_trait;
use tower_sessions_core::{
    ExpiredDeletion, SessionStore,
    session::{Id, Record},
    session_store,
};

use super::{create, decode, delete, key, period_until, save, to_record};
use crate::{AsyncStore, Error, Period};

/// A session store of tower-sessions that ends sessions which are not used.
///
/// `load` restarts the period of the session with [`AsyncStore::renew`], so each request whose handler reads the session
/// keeps the visitor logged in. It writes only if a tenth of the period has passed. A `save` of unchanged data does the
/// same, so `with_always_save(true)` costs little. The middleware does not load the session if no handler uses it.
///
/// # Cookies
///
/// The middleware sends the cookie only if it saves. With `Expiry::OnInactivity(…)`, the browser deletes the cookie this
/// long after the last save, even if the session was renewed in the meantime. So set one of these:
///
/// - `Expiry::OnSessionEnd`: the browser keeps the cookie until it is closed.
/// - `Expiry::OnInactivity(…)` with a time that is much longer than the idle timeout, for example 400 days: the browser
///   keeps the cookie, and the idle timeout decides how long the session lives.
///
/// With `Expiry::AtDateTime(…)`, a session can live until the idle timeout after that date. To limit its life, use
/// [`max_age`](crate::PostgresStoreBuilder::max_age).
///
/// # Examples
///
/// ```
/// use session_postgres::{Offload, Period, tower_sessions::IdleTimeout};
/// use tower_sessions::{Expiry, SessionManagerLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = throwaway_postgres::Server::start()?;
/// # let database_url = server.url();
/// let store = Offload::connect(database_url).await?;
/// store.run(|store| store.create_table()).await??;
///
/// let sessions = SessionManagerLayer::new(IdleTimeout::new(store, Period::minutes(30)))
///     .with_expiry(Expiry::OnSessionEnd);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct IdleTimeout<A> {
    store: A,
    period: Period,
}

impl<A: AsyncStore> IdleTimeout<A> {
    /// Returns a store whose sessions end this long after their last use.
    ///
    /// A session may end up to a tenth of the period earlier; see [`Store::renew`](crate::Store::renew).
    pub fn new(store: A, period: Period) -> IdleTimeout<A> {
        IdleTimeout { store, period }
    }

    /// The period of a record whose session is not used again.
    fn period(&self, record: &Record) -> Period {
        self.period.min(period_until(record.expiry_date))
    }
}

#[async_trait]
impl<A: AsyncStore + fmt::Debug> SessionStore for IdleTimeout<A> {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        let period = self.period(record);
        create(&self.store, record, period).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let period = self.period(record);
        // A renewal never shortens the life of a session.
        if period == self.period {
            match self.store.renew(&key(&record.id)?, Some(period)).await {
                Ok(stored) if decode(&stored.value).is_ok_and(|data| data == record.data) => {
                    return Ok(());
                }
                Err(Error::NotFound) => return Err(Error::NotFound.into()),
                _ => {}
            }
        }
        save(&self.store, record, period).await
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        to_record(id, self.store.renew(&key(id)?, Some(self.period)).await)
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        delete(&self.store, id).await
    }
}

/// Calls [`AsyncStore::prune`] until no expired session is left.
#[async_trait]
impl<A: AsyncStore + fmt::Debug> ExpiredDeletion for IdleTimeout<A> {
    async fn delete_expired(&self) -> session_store::Result<()> {
        while self.store.prune(super::PRUNE_LIMIT).await? == super::PRUNE_LIMIT {}
        Ok(())
    }
}
