//! `deadpool-postgres` with plain statements, prepared once per connection.

use anyhow::{Result, ensure};
use deadpool_postgres::{Manager, Pool, Runtime};
use tokio_postgres::NoTls;

use super::{Peer, statements};
use crate::{
    admin::{PgTable, Postgres},
    plan::CONNECTIONS,
};

pub(super) struct Deadpool(Pool);

impl Peer for Deadpool {
    type Key = String;
    type Admin = Postgres;
    type Options = ();

    const TABLE: PgTable = statements::TABLE;

    async fn open(url: &str, (): &()) -> Result<Self> {
        let pool = Pool::builder(Manager::new(url.parse()?, NoTls))
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .build()?;
        let client = pool.get().await?;
        client.batch_execute(statements::CREATE_TABLE).await?;
        Ok(Deadpool(pool))
    }

    fn new_key() -> Result<String> {
        statements::new_key()
    }

    fn text(key: &String) -> String {
        key.clone()
    }

    async fn load(&self, key: &String) -> Result<String> {
        let client = self.0.get().await?;
        let statement = client.prepare_cached(statements::LOAD_ONE).await?;
        Ok(client.query_one(&statement, &[key]).await?.try_get(0)?)
    }

    async fn save(&self, key: &String, value: String) -> Result<()> {
        let client = self.0.get().await?;
        let statement = client.prepare_cached(statements::SAVE_ONE).await?;
        let rows = client.execute(&statement, &[key, &value]).await?;
        ensure!(rows == 1, "no such session");
        Ok(())
    }

    async fn renew(&self, key: &String) -> Result<String> {
        let client = self.0.get().await?;
        let statement = client.prepare_cached(statements::RENEW_ONE).await?;
        Ok(client.query_one(&statement, &[key]).await?.try_get(0)?)
    }

    async fn create(&self, value: String) -> Result<String> {
        let key = statements::new_key()?;
        let client = self.0.get().await?;
        let statement = client.prepare_cached(statements::CREATE_ONE).await?;
        client.execute(&statement, &[&key, &value]).await?;
        Ok(key)
    }

    async fn delete(&self, key: &String) -> Result<()> {
        let client = self.0.get().await?;
        let statement = client.prepare_cached(statements::DELETE_ONE).await?;
        client.execute(&statement, &[key]).await?;
        Ok(())
    }
}
