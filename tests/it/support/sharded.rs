//! Stores on three servers.

use std::sync::OnceLock;

use session_postgres::{
    Offload, OffloadBuilder, PostgresStore, ShardMap, Sharded, postgres::Client,
};
use throwaway_postgres::Server;

use super::{
    blocking::Blocking,
    database::{Schema, url},
};

/// All slots are assigned.
pub(crate) const MAP: &str = "version=1 a=0-1364 b=1365-2729 c=2730-4095";

/// The connection strings of the three servers that the tests share.
fn urls() -> [&'static str; 3] {
    static OTHERS: OnceLock<[Server; 2]> = OnceLock::new();
    let [b, c] = OTHERS.get_or_init(|| [(); 2].map(|()| Server::start().unwrap()));
    [url(), b.url(), c.url()]
}

/// A schema on each of the three servers.
pub(crate) struct Schemas(pub(crate) [Schema; 3]);

impl Schemas {
    pub(crate) fn new() -> Schemas {
        Schemas(urls().map(Schema::on))
    }

    /// Three stores with pools of this size, each with its table.
    pub(crate) fn stores(&self, connections: u32) -> [PostgresStore; 3] {
        self.0.each_ref().map(|schema| {
            let store = schema.builder().from_pool(schema.pool(connections));
            store.create_table().unwrap();
            store
        })
    }

    pub(crate) fn blocking(&self, connections: u32) -> Sharded<PostgresStore> {
        let [a, b, c] = self.stores(connections);
        let builder = Sharded::builder(map()).server("a", a).server("b", b);
        builder.server("c", c).build().unwrap()
    }

    /// A facade for each server.
    pub(crate) fn facades(&self, connections: u32) -> Blocking<Sharded<Offload<PostgresStore>>> {
        let facade = |store| OffloadBuilder::default().max_waiting(100_000).build(store);
        let [a, b, c] = self.stores(connections).map(facade);
        Blocking::connect(async || {
            let builder = Sharded::builder(map()).server("a", a).server("b", b);
            builder.server("c", c).build_async().await.unwrap()
        })
    }

    /// Connections to the tables.
    pub(crate) fn clients(&self) -> Vec<Client> {
        self.0.iter().map(Schema::client).collect()
    }
}

pub(crate) fn map() -> ShardMap {
    MAP.parse().unwrap()
}
