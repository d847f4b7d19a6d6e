//! Sessions on several servers. Conformance, the model and the checker of orders run on them, too; here is what is different
//! if there are several.

mod batches;
mod closing;
mod creation;
mod extend;
mod failures;
mod map;
mod migration;
mod origin;
mod own_servers;
mod owners;
mod start;
#[cfg(any(feature = "tower-sessions", feature = "actix-session"))]
mod tower_sessions;
mod unassigned;

use session_postgres::{
    Error, Key, MemoryStore, Offload, PostgresStore, ShardMap, Sharded, ShardedBuilder,
};
use tokio::runtime::Runtime;

use crate::support::database::Schema;

/// The names of servers, in the order of their schemas.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn map(text: &str) -> ShardMap {
    text.parse().unwrap()
}

/// A builder with the stores of servers `a`, `b` and so on.
fn builder<S>(text: &str, stores: impl IntoIterator<Item = S>) -> ShardedBuilder<S> {
    let stores = NAMES.into_iter().zip(stores);
    stores.fold(Sharded::builder(map(text)), |builder, (name, store)| {
        builder.server(name, store)
    })
}

fn in_memory<const N: usize>(text: &str) -> Sharded<MemoryStore> {
    let stores = [(); N].map(|()| MemoryStore::new());
    builder(text, stores).build().unwrap()
}

/// A store with the table of this schema, which other stores may use, too.
fn store(schema: &Schema) -> PostgresStore {
    let store = schema.builder().from_pool(schema.pool(4));
    store.create_table().unwrap();
    store
}

/// Starts a program with this map on servers `a`, `b` and so on, with blocking stores.
fn program<'s>(
    text: &str,
    schemas: impl IntoIterator<Item = &'s Schema>,
) -> Result<Sharded<PostgresStore>, Error> {
    builder(text, schemas.into_iter().map(store)).build()
}

/// Starts a program with facades.
fn async_program<'s>(
    runtime: &Runtime,
    text: &str,
    schemas: impl IntoIterator<Item = &'s Schema>,
) -> Result<Sharded<Offload<PostgresStore>>, Error> {
    let stores = schemas
        .into_iter()
        .map(|schema| Offload::new(store(schema)));
    runtime.block_on(builder(text, stores).build_async())
}

/// A new key in a slot.
fn key_in(slot: u16) -> Key {
    let map = ShardMap::new(1).assign("any", slot..=slot).unwrap();
    map.generate_key("any").unwrap()
}

/// The store of a server.
fn store_on<S>(store: &Sharded<S>, name: &str) -> std::sync::Arc<S> {
    let mut servers = store.servers().into_iter();
    servers.find(|server| server.name == name).unwrap().store
}

/// The text of the error with which a program was refused.
fn refusal<T>(started: Result<T, Error>) -> String {
    match started {
        Err(e @ Error::ShardMap { .. }) => e.to_string(),
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("the map was accepted"),
    }
}
