//! `r2d2` in `spawn_blocking`, as most people write it: the pool's defaults, and statements as text.

use anyhow::{Result, ensure};
use r2d2_postgres::PostgresConnectionManager;
use session_postgres::{
    postgres::{Client, NoTls},
    r2d2::Pool,
};
use tokio::task::spawn_blocking;

use super::{Peer, by_hand};
use crate::plan::CONNECTIONS;

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

    const TABLE: &str = by_hand::TABLE;
    const INSERT: &str = by_hand::INSERT;
    const DELETE: &str = by_hand::DELETE;

    async fn open(url: &str) -> Result<Self> {
        let manager = PostgresConnectionManager::new(url.parse()?, NoTls);
        let open = || {
            let pool = Pool::builder()
                .max_size(CONNECTIONS as u32)
                .build(manager)?;
            pool.get()?.batch_execute(by_hand::CREATE_TABLE)?;
            Ok(R2d2(pool))
        };
        spawn_blocking(open).await?
    }

    fn new_key() -> Result<String> {
        by_hand::new_key()
    }

    fn text(key: &String) -> String {
        key.clone()
    }

    async fn load(&self, key: &String) -> Result<String> {
        let key = key.clone();
        self.run(move |client| Ok(client.query_one(by_hand::LOAD_ONE, &[&key])?.try_get(0)?))
            .await
    }

    async fn save(&self, key: &String, value: String) -> Result<()> {
        let key = key.clone();
        self.run(move |client| {
            let rows = client.execute(by_hand::SAVE_ONE, &[&key, &value])?;
            ensure!(rows == 1, "no such session");
            Ok(())
        })
        .await
    }

    async fn create(&self, value: String) -> Result<String> {
        let key = by_hand::new_key()?;
        self.run(move |client| {
            client.execute(by_hand::CREATE_ONE, &[&key, &value])?;
            Ok(key)
        })
        .await
    }

    async fn delete(&self, key: &String) -> Result<()> {
        let key = key.clone();
        self.run(move |client| {
            client.execute(by_hand::DELETE_ONE, &[&key])?;
            Ok(())
        })
        .await
    }
}
