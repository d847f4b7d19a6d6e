//! Counters, metrics, spans and events.

mod counters;
mod faults;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod recorder;
#[cfg(feature = "tracing")]
mod sharded;
#[cfg(feature = "tracing")]
mod trace;

use session_postgres::{PostgresStore, PostgresStoreBuilder, postgres::Client};

use crate::support::database::{Schema, pid};

/// Returns a store with one connection and a table.
fn store_on_one(schema: &Schema, builder: PostgresStoreBuilder) -> PostgresStore {
    let store = builder.from_pool(schema.pool(1));
    store.create_table().unwrap();
    store
}

/// Kills the connection of a store that has one.
fn kill_connection(schema: &Schema, store: &PostgresStore) {
    kill_connection_with(schema.client(), store);
}

/// The same, with this client.
fn kill_connection_with(mut client: Client, store: &PostgresStore) {
    let pid = pid(store);
    let killed = client
        .query_one("SELECT pg_terminate_backend($1, 60000)", &[&pid])
        .unwrap();
    assert!(killed.get::<_, bool>(0));
}
