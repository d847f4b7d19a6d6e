//! The stores of `tower-sessions`.

use anyhow::{Context, Result};
use time::{Duration, OffsetDateTime};
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
};
use tower_sessions_redis_store::{
    RedisStore,
    fred::{
        clients::Pool,
        interfaces::ClientLike,
        types::{Builder, config::Config},
    },
};
use tower_sessions_sqlx_store::{PostgresStore, sqlx::postgres::PgPoolOptions};

use super::{Peer, sqlx_url};
use crate::{
    admin::{self, Admin, PgTable},
    plan::CONNECTIONS,
};

pub(crate) struct TowerSessions<S: Store>(S::Sessions);

pub(crate) trait Store: 'static {
    type Sessions: SessionStore;
    type Admin: Admin;

    const TABLE: <Self::Admin as Admin>::Table;

    fn open(url: &str) -> impl Future<Output = Result<Self::Sessions>> + Send;
}

/// `tower-sessions-sqlx-store`. `PING` is the default of sqlx: each checkout tests the connection with a round trip.
pub(crate) struct Sqlx<const PING: bool>;

impl<const PING: bool> Store for Sqlx<PING> {
    type Sessions = PostgresStore;
    type Admin = admin::Postgres;

    const TABLE: PgTable = PgTable {
        name: "tower_sessions.session",
        insert: "INSERT INTO tower_sessions.session (id, data, expiry_date) \
             SELECT key, data, now() + interval '7 days' \
             FROM unnest($1::text[], $2::bytea[]) AS row (key, data)",
        delete: "DELETE FROM tower_sessions.session WHERE id = ANY ($1::text[])",
    };

    async fn open(url: &str) -> Result<PostgresStore> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS as u32)
            .test_before_acquire(PING)
            .connect(&sqlx_url(url)?)
            .await?;
        let store = PostgresStore::new(pool);
        store.migrate().await?;
        Ok(store)
    }
}

/// `tower-sessions-redis-store`.
pub(crate) struct Redis;

impl Store for Redis {
    type Sessions = RedisStore<Pool>;
    type Admin = admin::Redis;

    const TABLE: () = ();

    async fn open(url: &str) -> Result<RedisStore<Pool>> {
        let pool = Builder::from_config(Config::from_url(url)?)
            // The clients of all other peers set this.
            .with_connection_config(|config| config.tcp.nodelay = Some(true))
            .build_pool(CONNECTIONS)?;
        pool.init().await?;
        Ok(RedisStore::new(pool))
    }
}

/// The name of the only value in a session.
const NAME: &str = "value";

fn record(id: Id, value: String) -> Record {
    Record {
        id,
        data: [(NAME.to_owned(), value.into())].into(),
        expiry_date: OffsetDateTime::now_utc() + Duration::WEEK,
    }
}

impl<S: Store> Peer for TowerSessions<S> {
    type Key = Id;
    type Admin = S::Admin;
    type Options = ();

    const TABLE: <S::Admin as Admin>::Table = S::TABLE;

    async fn open(url: &str, (): &()) -> Result<Self> {
        Ok(TowerSessions(S::open(url).await?))
    }

    fn new_key() -> Result<Id> {
        Ok(Id::default())
    }

    fn text(key: &Id) -> String {
        key.to_string()
    }

    fn data(key: &Id, value: String) -> Result<Vec<u8>> {
        Ok(rmp_serde::to_vec(&record(*key, value))?)
    }

    async fn load(&self, key: &Id) -> Result<String> {
        let record = self.0.load(key).await?.context("no such session")?;
        let value = record.data.get(NAME).and_then(|value| value.as_str());
        Ok(value.context("a session without the value")?.to_owned())
    }

    async fn save(&self, key: &Id, value: String) -> Result<()> {
        Ok(self.0.save(&record(*key, value)).await?)
    }

    async fn create(&self, value: String) -> Result<Id> {
        let mut record = record(Id::default(), value);
        self.0.create(&mut record).await?;
        Ok(record.id)
    }

    async fn delete(&self, key: &Id) -> Result<()> {
        Ok(self.0.delete(key).await?)
    }
}
