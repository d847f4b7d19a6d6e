//! session-postgres: the facade with its defaults, without batches and with a fixed number of workers, and the blocking store.

use anyhow::Result;
use session_postgres::{
    AsyncStore, Key, Offload, Period, PostgresStore, PostgresStoreBuilder, Store,
};

use super::{Peer, statements};
use crate::{
    admin::{PgTable, Postgres},
    plan::CONNECTIONS,
};

fn options() -> PostgresStoreBuilder {
    PostgresStore::builder().max_connections(CONNECTIONS as u32)
}

#[derive(Clone, Copy, Default)]
pub(crate) enum Setting {
    #[default]
    Default,
    OneByOne,
    Workers(usize),
}

/// The facade with a setting.
pub(crate) struct Facade(Offload<PostgresStore>);

impl Facade {
    pub(crate) fn set_period(&self, period: Period) {
        self.0.set_default_period(period);
    }

    pub(crate) async fn touch(&self, key: &Key) -> Result<()> {
        Ok(self.0.touch(key, None).await?)
    }
}

impl Peer for Facade {
    type Key = Key;
    type Admin = Postgres;
    type Options = Setting;

    const TABLE: PgTable = statements::TABLE;

    async fn open(url: &str, setting: &Setting) -> Result<Self> {
        let facade = Offload::builder();
        let facade = match *setting {
            Setting::Default => facade,
            Setting::OneByOne => facade.max_batch(1),
            Setting::Workers(number) => facade.max_concurrency(number),
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
    type Admin = Postgres;
    type Options = ();

    const BLOCKS: bool = true;
    const TABLE: PgTable = statements::TABLE;

    async fn open(url: &str, (): &()) -> Result<Self> {
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
