//! `r2d2` in `spawn_blocking`, as most programs use it: the defaults of the pool, and unprepared statements.

use anyhow::{Result, ensure};
use r2d2_postgres::PostgresConnectionManager;
use session_postgres::{
    postgres::{Client, NoTls},
    r2d2::Pool,
};
use tokio::task::spawn_blocking;

use super::{Peer, statements};
use crate::{
    admin::{PgTable, Postgres},
    plan::CONNECTIONS,
};

pub(super) struct R2d2(Pool<PostgresConnectionManager<NoTls>>);

impl R2d2 {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Client) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let pool = self.0.clone();
        spawn_blocking(move || work(&mut *pool.get()?)).await?
    }
}

impl Peer for R2d2 {
    type Key = String;
    type Admin = Postgres;
    type Options = ();

    const TABLE: PgTable = statements::TABLE;

    async fn open(url: &str, (): &()) -> Result<Self> {
        let manager = PostgresConnectionManager::new(url.parse()?, NoTls);
        let open = || {
            let pool = Pool::builder()
                .max_size(CONNECTIONS as u32)
                .build(manager)?;
            pool.get()?.batch_execute(statements::CREATE_TABLE)?;
            Ok(R2d2(pool))
        };
        spawn_blocking(open).await?
    }

    fn new_key() -> Result<String> {
        statements::new_key()
    }

    fn text(key: &String) -> String {
        key.clone()
    }

    async fn load(&self, key: &String) -> Result<String> {
        let key = key.clone();
        self.run(move |client| {
            Ok(client
                .query_one(statements::LOAD_ONE, &[&key])?
                .try_get(0)?)
        })
        .await
    }

    async fn save(&self, key: &String, value: String) -> Result<()> {
        let key = key.clone();
        self.run(move |client| {
            let rows = client.execute(statements::SAVE_ONE, &[&key, &value])?;
            ensure!(rows == 1, "no such session");
            Ok(())
        })
        .await
    }

    async fn renew(&self, key: &String) -> Result<String> {
        let key = key.clone();
        self.run(move |client| {
            Ok(client
                .query_one(statements::RENEW_ONE, &[&key])?
                .try_get(0)?)
        })
        .await
    }

    async fn create(&self, value: String) -> Result<String> {
        let key = statements::new_key()?;
        self.run(move |client| {
            client.execute(statements::CREATE_ONE, &[&key, &value])?;
            Ok(key)
        })
        .await
    }

    async fn delete(&self, key: &String) -> Result<()> {
        let key = key.clone();
        self.run(move |client| {
            client.execute(statements::DELETE_ONE, &[&key])?;
            Ok(())
        })
        .await
    }
}
