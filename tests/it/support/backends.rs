//! A store of every kind, each with its own table.

use session_postgres::{MemoryStore, Offload, OffloadBuilder, Store};

use super::{
    blocking::Blocking,
    database::{OCAML_TABLE, Schema},
};

/// A store, and the schema that must live as long.
pub(crate) struct Backend {
    pub(crate) store: Box<dyn Store>,
    _schema: Option<Schema>,
}

impl Backend {
    fn on(schema: Schema, store: impl Store) -> Backend {
        Backend {
            store: Box::new(store),
            _schema: Some(schema),
        }
    }
}

pub(crate) fn memory() -> Backend {
    Backend {
        store: Box::new(MemoryStore::new()),
        _schema: None,
    }
}

pub(crate) fn pooled() -> Backend {
    let schema = Schema::new();
    let store = schema.store();
    Backend::on(schema, store)
}

pub(crate) fn single_client() -> Backend {
    let schema = Schema::new();
    let store = schema.builder().from_client(schema.client());
    store.create_table().unwrap();
    Backend::on(schema, store)
}

pub(crate) fn legacy_table() -> Backend {
    let schema = Schema::new();
    schema.run(OCAML_TABLE);
    let store = schema.builder().from_pool(schema.pool(4));
    Backend::on(schema, store)
}

pub(crate) fn unprepared() -> Backend {
    let schema = Schema::new();
    let store = schema.builder().prepared(false).from_pool(schema.pool(4));
    store.create_table().unwrap();
    Backend::on(schema, store)
}

pub(crate) fn offloaded_memory() -> Backend {
    let store = Blocking::new(|| Offload::new(MemoryStore::new()));
    Backend {
        store: Box::new(store),
        _schema: None,
    }
}

pub(crate) fn offloaded() -> Backend {
    let schema = Schema::new();
    let store = schema.store();
    let builder = OffloadBuilder::default().max_waiting(100_000);
    Backend::on(schema, Blocking::new(|| builder.build(store)))
}

pub(crate) fn offloaded_one_by_one() -> Backend {
    let schema = Schema::new();
    let store = schema.store();
    let builder = OffloadBuilder::default().max_batch(1).max_waiting(100_000);
    Backend::on(schema, Blocking::new(|| builder.build(store)))
}
