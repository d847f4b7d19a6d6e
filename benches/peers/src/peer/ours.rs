//! session-postgres: the facade with its defaults, without batches and with a fixed number of workers, the sharded store, and
//! the blocking store.

use anyhow::Result;
use session_postgres::{
    AsyncStore, Key, Offload, Period, PostgresStore, PostgresStoreBuilder, Store,
};

use super::{Peer, shard_map, statements};
use crate::{
    admin::{BETWEEN_URLS, PgTable, Postgres},
    plan::CONNECTIONS,
};

fn options() -> PostgresStoreBuilder {
    PostgresStore::builder().max_connections(CONNECTIONS as u32)
}

#[derive(Clone, Copy, Default)]
pub(crate) enum Setting {
    #[default]
    Default,
    MaxBatch(usize),
    Workers(usize),
}

/// Stores of servers, each with a facade.
pub(crate) type Sharded = session_postgres::Sharded<Offload<PostgresStore>>;

/// The facade with a setting, or the sharded store.
pub(crate) struct Facade<S = Offload<PostgresStore>>(S);

/// Connects an async store.
pub(crate) trait Open: AsyncStore + Sized {
    fn open(url: &str, setting: &Setting) -> impl Future<Output = Result<Self>> + Send;
}

impl Open for Offload<PostgresStore> {
    async fn open(url: &str, setting: &Setting) -> Result<Self> {
        let facade = Offload::builder();
        let facade = match *setting {
            Setting::Default => facade,
            Setting::MaxBatch(calls) => facade.max_batch(calls),
            Setting::Workers(number) => facade.max_concurrency(number),
        };
        let facade = facade.connect(options(), url).await?;
        facade.run(|store| store.create_table()).await??;
        Ok(facade)
    }
}

impl Open for Sharded {
    async fn open(urls: &str, setting: &Setting) -> Result<Self> {
        let urls: Vec<_> = urls.split(BETWEEN_URLS).collect();
        let mut builder = Sharded::builder(shard_map(urls.len())?);
        for (server, url) in urls.into_iter().enumerate() {
            let facade = <Offload<PostgresStore> as Open>::open(url, setting).await?;
            builder = builder.server(&server.to_string(), facade);
        }
        Ok(builder.build_async().await?)
    }
}

impl Facade {
    pub(crate) fn set_period(&self, period: Period) {
        self.0.set_default_period(period);
    }

    /// Returns how many batches and calls there have been.
    pub(crate) fn batches(&self) -> (u64, u64) {
        let batches = self.0.stats().batches;
        (batches.batches, batches.calls)
    }

    pub(crate) async fn touch(&self, key: &Key) -> Result<()> {
        Ok(self.0.touch(key, None).await?)
    }
}

impl<S: Open> Peer for Facade<S> {
    type Key = Key;
    type Admin = Postgres;
    type Options = Setting;

    const TABLE: PgTable = statements::TABLE;

    async fn open(url: &str, setting: &Setting) -> Result<Self> {
        Ok(Facade(S::open(url, setting).await?))
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
