//! `axum_session_sqlx`.

use anyhow::{Context, Result};
use axum_session::DatabasePool;
use axum_session_sqlx::SessionPgPool;
use sqlx::postgres::PgPoolOptions;
use time::{Duration, OffsetDateTime};

use super::{Peer, sqlx_url, statements};
use crate::{
    admin::{PgTable, Postgres},
    plan::CONNECTIONS,
};

pub(super) struct AxumSession(SessionPgPool);

/// The default of `axum_session`.
const TABLE: &str = "sessions";

fn in_a_week() -> i64 {
    (OffsetDateTime::now_utc() + Duration::WEEK).unix_timestamp()
}

impl Peer for AxumSession {
    type Key = String;
    type Admin = Postgres;
    type Options = ();

    const TABLE: PgTable = PgTable {
        name: TABLE,
        insert: "INSERT INTO sessions (id, session, expires) \
             SELECT key, convert_from(data, 'UTF8'), extract(epoch FROM now())::bigint + 604800 \
             FROM unnest($1::text[], $2::bytea[]) AS row (key, data)",
        delete: "DELETE FROM sessions WHERE id = ANY ($1::text[])",
    };

    async fn open(url: &str, (): &()) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS as u32)
            .connect(&sqlx_url(url)?)
            .await?;
        let store = SessionPgPool::from(pool);
        store.initiate(TABLE).await?;
        Ok(AxumSession(store))
    }

    /// `axum_session` uses UUIDs, which have 36 characters.
    fn new_key() -> Result<String> {
        let mut key = statements::new_key()?;
        key.truncate(36);
        Ok(key)
    }

    fn text(key: &String) -> String {
        key.clone()
    }

    async fn load(&self, key: &String) -> Result<String> {
        let value = self.0.load(key, TABLE).await?;
        value.context("no such session")
    }

    async fn save(&self, key: &String, value: String) -> Result<()> {
        Ok(self.0.store(key, &value, in_a_week(), TABLE).await?)
    }

    async fn create(&self, value: String) -> Result<String> {
        let key = Self::new_key()?;
        self.0.store(&key, &value, in_a_week(), TABLE).await?;
        Ok(key)
    }

    async fn delete(&self, key: &String) -> Result<()> {
        Ok(self.0.delete_one_by_id(key, TABLE).await?)
    }
}
