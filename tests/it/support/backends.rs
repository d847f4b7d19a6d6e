//! A store of every kind, each with its own table.

use std::sync::Arc;

use session_postgres::{
    Columns, DEFAULT_PERIOD, Key, MemoryStore, Offload, OffloadBuilder, PostgresStore, Store,
};

use super::{
    blocking::Blocking,
    database::{OCAML_TABLE, Schema},
    sharded::Schemas,
    transactions::InTransactions,
    wrapper::{Around, Wrapper},
};

/// A store, and the schema that must live as long.
pub(crate) struct Backend {
    pub(crate) store: Box<dyn Store>,
    schemas: Vec<Schema>,
}

impl Backend {
    fn on(schema: Schema, store: impl Store) -> Backend {
        Backend {
            store: Box::new(store),
            schemas: vec![schema],
        }
    }

    /// Removes all sessions, and sets the default period that a new store has.
    pub(crate) fn empty(&mut self) {
        for schema in &self.schemas {
            schema.run("DELETE FROM session");
        }
        self.store.set_default_period(DEFAULT_PERIOD);
    }
}

pub(crate) fn memory() -> Backend {
    Backend {
        store: Box::new(MemoryStore::new()),
        schemas: Vec::new(),
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

/// A table of hashed keys.
pub(crate) fn hashed() -> Backend {
    let schema = Schema::new();
    let store = schema.builder().hash_keys(true).from_pool(schema.pool(4));
    store.create_table().unwrap();
    Backend::on(schema, store)
}

/// A table with hash partitions.
pub(crate) fn partitioned() -> Backend {
    let schema = Schema::new();
    let store = schema.builder().partitions(3).from_pool(schema.pool(4));
    store.create_table().unwrap();
    Backend::on(schema, store)
}

/// A table whose columns have the names of placeholders and of other things in the statements, with characters that
/// have a meaning in SQL.
pub(crate) fn other_names() -> Backend {
    let schema = Schema::new();
    let columns = Columns {
        key: "{key} \"'; --",
        expiry: "$1 {expires} \\",
        value: "session",
        created_at: "place",
        owner: "an\n\"{owner}\" /*",
    };
    let builder = schema.builder().table("{table} \"'").unwrap();
    let builder = builder.columns(columns).unwrap();
    let store = builder.from_pool(schema.pool(4));
    store.create_table().unwrap();
    Backend::on(schema, store)
}

/// Makes the calls on another store, and nothing else.
struct Plain(Arc<PostgresStore>);

impl Around for Plain {
    type Inner = Arc<PostgresStore>;

    fn inner(&self) -> &Arc<PostgresStore> {
        &self.0
    }

    fn around<T>(
        &self,
        _: &'static str,
        _: &[&Key],
        _: usize,
        call: impl FnOnce(&Arc<PostgresStore>) -> T,
    ) -> T {
        call(&self.0)
    }
}

/// A store that implements the required methods only, by those of an `Arc` of a store.
pub(crate) fn wrapped() -> Backend {
    let schema = Schema::new();
    let store = Arc::new(schema.store());
    Backend::on(schema, Wrapper(Plain(store)))
}

pub(crate) fn in_transactions() -> Backend {
    let schema = Schema::new();
    let store = schema.store();
    Backend::on(schema, InTransactions(store))
}

pub(crate) fn offloaded_memory() -> Backend {
    let store = Blocking::new(|| Offload::new(MemoryStore::new()));
    Backend {
        store: Box::new(store),
        schemas: Vec::new(),
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

pub(crate) fn sharded() -> Backend {
    let schemas = Schemas::new();
    Backend {
        store: Box::new(schemas.blocking(4)),
        schemas: schemas.0.into(),
    }
}

pub(crate) fn sharded_facades() -> Backend {
    let schemas = Schemas::new();
    Backend {
        store: Box::new(schemas.facades(4)),
        schemas: schemas.0.into(),
    }
}
