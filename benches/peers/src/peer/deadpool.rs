//! `deadpool-postgres` and statements by hand, prepared once a connection.

use anyhow::{Result, ensure};
use deadpool_postgres::{Manager, Pool, Runtime};
use tokio_postgres::NoTls;

use super::{Peer, by_hand};
use crate::plan::CONNECTIONS;

pub(super) struct Deadpool(Pool);

impl Peer for Deadpool {
    type Key = String;

    const TABLE: &str = by_hand::TABLE;
    const INSERT: &str = by_hand::INSERT;
    const DELETE: &str = by_hand::DELETE;

    async fn open(url: &str) -> Result<Self> {
        let pool = Pool::builder(Manager::new(url.parse()?, NoTls))
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .build()?;
        let client = pool.get().await?;
        client.batch_execute(by_hand::CREATE_TABLE).await?;
        Ok(Deadpool(pool))
    }

    fn new_key() -> Result<String> {
        by_hand::new_key()
    }

    fn text(key: &String) -> String {
        key.clone()
    }

    async fn load(&self, key: &String) -> Result<String> {
        let client = self.0.get().await?;
        let statement = client.prepare_cached(by_hand::LOAD_ONE).await?;
        Ok(client.query_one(&statement, &[key]).await?.try_get(0)?)
    }

    async fn save(&self, key: &String, value: String) -> Result<()> {
        let client = self.0.get().await?;
        let statement = client.prepare_cached(by_hand::SAVE_ONE).await?;
        let rows = client.execute(&statement, &[key, &value]).await?;
        ensure!(rows == 1, "no such session");
        Ok(())
    }

    async fn create(&self, value: String) -> Result<String> {
        let key = by_hand::new_key()?;
        let client = self.0.get().await?;
        let statement = client.prepare_cached(by_hand::CREATE_ONE).await?;
        client.execute(&statement, &[&key, &value]).await?;
        Ok(key)
    }

    async fn delete(&self, key: &String) -> Result<()> {
        let client = self.0.get().await?;
        let statement = client.prepare_cached(by_hand::DELETE_ONE).await?;
        client.execute(&statement, &[key]).await?;
        Ok(())
    }
}
