//! `tower-sessions-sqlx-store`.

use anyhow::{Context, Result};
use time::{Duration, OffsetDateTime};
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
};
use tower_sessions_sqlx_store::{PostgresStore, sqlx::postgres::PgPoolOptions};

use super::{Peer, sqlx_url};
use crate::plan::CONNECTIONS;

/// `PING` is the default of sqlx: each checkout tests the connection with a round trip.
pub(crate) struct TowerSessions<const PING: bool>(PostgresStore);

/// The name of the only value in a session.
const NAME: &str = "value";

fn record(id: Id, value: String) -> Record {
    Record {
        id,
        data: [(NAME.to_owned(), value.into())].into(),
        expiry_date: OffsetDateTime::now_utc() + Duration::WEEK,
    }
}

impl<const PING: bool> Peer for TowerSessions<PING> {
    type Key = Id;

    const TABLE: &str = "tower_sessions.session";
    const INSERT: &str = "INSERT INTO tower_sessions.session (id, data, expiry_date) \
         SELECT key, data, now() + interval '7 days' \
         FROM unnest($1::text[], $2::bytea[]) AS row (key, data)";
    const DELETE: &str = "DELETE FROM tower_sessions.session WHERE id = ANY ($1::text[])";

    async fn open(url: &str) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS as u32)
            .test_before_acquire(PING)
            .connect(&sqlx_url(url)?)
            .await?;
        let store = PostgresStore::new(pool);
        store.migrate().await?;
        Ok(TowerSessions(store))
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
