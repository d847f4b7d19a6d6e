//! session-postgres: the facade with its defaults, without batches and with two workers, and the blocking store.

use anyhow::Result;
use session_postgres::{
    AsyncStore, Key, Offload, Period, PostgresStore, PostgresStoreBuilder, Store,
};

use super::{Peer, statements};
use crate::plan::CONNECTIONS;

fn options() -> PostgresStoreBuilder {
    PostgresStore::builder().max_connections(CONNECTIONS as u32)
}

pub(super) const DEFAULT: u8 = 0;
pub(super) const ONE_BY_ONE: u8 = 1;
pub(super) const TWO_WORKERS: u8 = 2;

/// The facade with one of the settings above.
pub(crate) struct Facade<const SETTING: u8>(Offload<PostgresStore>);

impl<const SETTING: u8> Facade<SETTING> {
    pub(crate) fn set_period(&self, period: Period) {
        self.0.set_default_period(period);
    }

    pub(crate) async fn touch(&self, key: &Key) -> Result<()> {
        Ok(self.0.touch(key, None).await?)
    }
}

impl<const SETTING: u8> Peer for Facade<SETTING> {
    type Key = Key;

    const TABLE: &str = statements::TABLE;
    const INSERT: &str = statements::INSERT;
    const DELETE: &str = statements::DELETE;

    async fn open(url: &str) -> Result<Self> {
        let facade = Offload::builder();
        let facade = match SETTING {
            ONE_BY_ONE => facade.max_batch(1),
            TWO_WORKERS => facade.max_concurrency(2),
            _ => facade,
        };
        let facade = facade.connect(options(), url).await?;
        facade.run(|store| store.create_table()).await??;
        Ok(Facade(facade))
    }

    fn new_key() -> Result<Key> {
        Ok(Key::generate()?)
    }

    fn text(key: &Key) -> String {
        key.as_str().to_owned()
    }

    async fn load(&self, key: &Key) -> Result<String> {
        Ok(self.0.get(key).await?.value)
    }

    async fn save(&self, key: &Key, value: String) -> Result<()> {
        Ok(self.0.set(key, &value, None).await?)
    }

    async fn renew(&self, key: &Key) -> Result<String> {
        Ok(self.0.renew(key, None).await?.value)
    }

    async fn create(&self, value: String) -> Result<Key> {
        Ok(self.0.generate(Some(&value), None).await?)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        Ok(self.0.clear(key).await?)
    }
}

pub(super) struct Blocking(PostgresStore);

impl Peer for Blocking {
    type Key = Key;

    const BLOCKS: bool = true;
    const TABLE: &str = statements::TABLE;
    const INSERT: &str = statements::INSERT;
    const DELETE: &str = statements::DELETE;

    async fn open(url: &str) -> Result<Self> {
        let url = url.to_owned();
        let open = move || {
            let store = options().connect(&url)?;
            store.create_table()?;
            Ok(Blocking(store))
        };
        tokio::task::spawn_blocking(open).await?
    }

    fn new_key() -> Result<Key> {
        Ok(Key::generate()?)
    }

    fn text(key: &Key) -> String {
        key.as_str().to_owned()
    }

    async fn load(&self, key: &Key) -> Result<String> {
        Ok(self.0.get(key)?.value)
    }

    async fn save(&self, key: &Key, value: String) -> Result<()> {
        Ok(self.0.set(key, &value, None)?)
    }

    async fn renew(&self, key: &Key) -> Result<String> {
        Ok(self.0.renew(key, None)?.value)
    }

    async fn create(&self, value: String) -> Result<Key> {
        Ok(self.0.generate(Some(&value), None)?)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        Ok(self.0.clear(key)?)
    }
}
