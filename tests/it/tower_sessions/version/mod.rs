//! The facade as a session store of tower-sessions, without and with the middleware. The module above chooses the
//! version.

mod clock;
mod middleware;
mod store;

use std::{collections::HashMap, future::Future};

use serde_json::Value;
use session_postgres::{Offload, Period, PostgresStore, time::OffsetDateTime};
use tokio::runtime::{Builder, Runtime};

use super::tower_sessions::{
    self, SessionStore,
    session::{Id, Record},
    session_store,
};
use crate::support::database::Schema;

type Result<T> = session_store::Result<T>;

/// A facade with its own table and a runtime to wait for its calls.
struct Fixture {
    runtime: Runtime,
    store: Offload<PostgresStore>,
    schema: Schema,
}

impl Fixture {
    fn new() -> Fixture {
        let schema = Schema::new();
        Fixture::of(schema.store(), schema)
    }

    fn of(store: PostgresStore, schema: Schema) -> Fixture {
        Fixture {
            runtime: runtime(),
            store: Offload::new(store),
            schema,
        }
    }

    fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    fn create(&self, record: &mut Record) -> Result<()> {
        self.wait(self.store.create(record))
    }

    fn save(&self, record: &Record) -> Result<()> {
        self.wait(self.store.save(record))
    }

    fn load(&self, id: &Id) -> Result<Option<Record>> {
        self.wait(self.store.load(id))
    }

    fn delete(&self, id: &Id) -> Result<()> {
        self.wait(self.store.delete(id))
    }

    /// Creates a record that expires in half an hour.
    fn created(&self, text: &str) -> Record {
        let mut record = record(text);
        self.create(&mut record).unwrap();
        record
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Returns a record that expires in half an hour. It is not in the store yet.
fn record(text: &str) -> Record {
    Record {
        id: Id::default(),
        data: data(text),
        expiry_date: in_time(Period::minutes(30)),
    }
}

fn data(text: &str) -> HashMap<String, Value> {
    HashMap::from([("text".to_owned(), text.into())])
}

fn in_time(period: Period) -> OffsetDateTime {
    OffsetDateTime::now_utc() + period
}

/// Returns whether the date is this period from now, with a tolerance of 20 seconds.
fn is_in(date: OffsetDateTime, period: Period) -> bool {
    (in_time(period) - date).abs() < Period::seconds(20)
}
