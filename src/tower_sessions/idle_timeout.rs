//! A session store of tower-sessions that renews each session that it loads.

use time::OffsetDateTime;

use super::records::{self, Failure, decode, period_until};
use crate::{AsyncStore, Error, Key, Period, adapters::json::Data};

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
/// # #[cfg(not(feature = "tower-sessions"))]
/// # use tower_sessions_0_14 as tower_sessions;
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
    pub(super) store: A,
    pub(super) period: Period,
}

impl<A: AsyncStore> IdleTimeout<A> {
    /// Returns a store whose sessions end this long after their last use.
    ///
    /// A session may end up to a tenth of the period earlier; see [`Store::renew`](crate::Store::renew).
    pub fn new(store: A, period: Period) -> IdleTimeout<A> {
        IdleTimeout { store, period }
    }

    /// The period of a record with this expiry date whose session is not used again.
    pub(super) fn period_until(&self, date: OffsetDateTime) -> Period {
        self.period.min(period_until(date))
    }
}

pub(super) async fn save<A: AsyncStore>(
    sessions: &IdleTimeout<A>,
    key: &Key,
    data: &Data,
    date: OffsetDateTime,
) -> Result<(), Failure> {
    let (store, period) = (&sessions.store, sessions.period_until(date));
    // A renewal never shortens the life of a session.
    if period == sessions.period {
        match store.renew(key, Some(period)).await {
            Ok(stored) if decode(&stored.value).is_ok_and(|stored| stored == *data) => {
                return Ok(());
            }
            Err(Error::NotFound) => return Err(Error::NotFound.into()),
            _ => {}
        }
    }
    records::save(store, key, data, period).await
}
