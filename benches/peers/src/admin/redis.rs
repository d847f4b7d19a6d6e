//! The keys of a Redis server, which has no other keys.

use anyhow::{Context, Result};
use tower_sessions_redis_store::fred::{
    clients::Client,
    interfaces::{ClientLike, KeysInterface},
    types::{Builder, Expiration, InfoKind, config::Config},
};

use super::Admin;
use crate::meters::Server;

const WEEK_SECONDS: i64 = 7 * 24 * 60 * 60;

pub(crate) struct Redis(Client);

impl Redis {
    /// Returns a number that the server reports about itself, or `None` if it does not.
    async fn info(&self, section: InfoKind, name: &str) -> Result<Option<u64>> {
        let text: String = self.0.info(Some(section)).await?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(value.map(|value| value.trim().parse()).transpose()?)
    }
}

impl Admin for Redis {
    type Table = ();

    async fn connect(url: &str, (): &()) -> Result<Redis> {
        let client = Builder::from_config(Config::from_url(url)?).build()?;
        client.init().await?;
        Ok(Redis(client))
    }

    async fn clear(&self) -> Result<()> {
        Ok(self.0.flushall(false).await?)
    }

    async fn insert(&self, keys: Vec<String>, data: Vec<Vec<u8>>) -> Result<()> {
        let pipeline = self.0.pipeline();
        for (key, data) in keys.into_iter().zip(data) {
            let week = Some(Expiration::EX(WEEK_SECONDS));
            let _: () = pipeline
                .set(key, data.as_slice(), week, None, false)
                .await?;
        }
        let _: Vec<String> = pipeline.all().await?;
        Ok(())
    }

    async fn delete(&self, keys: Vec<String>) -> Result<()> {
        let _: () = self.0.del(keys).await?;
        Ok(())
    }

    async fn vacuum(&self) -> Result<()> {
        Ok(())
    }

    async fn touch(&self) -> Result<()> {
        Ok(())
    }

    async fn server(&self) -> Result<Server> {
        let pid = self.info(InfoKind::Server, "process_id").await?;
        let pid = pid.context("Redis does not report its process")? as i32;
        Ok(Server::Redis { pid })
    }

    /// Redis reports the size of the append-only file only if it writes one.
    async fn log_bytes(&self) -> Result<Option<u64>> {
        self.info(InfoKind::Persistence, "aof_current_size").await
    }
}
