//! The adapter for actix-session, without and with the middleware.

mod data;
mod errors;
mod keys;
mod middleware;
mod owners;
mod store;
mod workers;

use std::{collections::HashMap, future::Future};

use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_web::rt::System;
use session_postgres::{Key, Offload, Period, PostgresStore, actix_session::Adapter};

use crate::support::database::Schema;

const HALF_AN_HOUR: Period = Period::minutes(30);
const SECRET: &str = "SecretOfTheLobster";

type State = HashMap<String, String>;

/// An adapter with its own table, and a runtime to wait for its calls.
struct Fixture {
    store: Offload<PostgresStore>,
    adapter: Adapter<Offload<PostgresStore>>,
    schema: Schema,
}

impl Fixture {
    fn new() -> Fixture {
        let schema = Schema::new();
        Fixture::of(schema.store(), schema)
    }

    fn of(store: PostgresStore, schema: Schema) -> Fixture {
        let store = Offload::new(store);
        Fixture {
            adapter: Adapter::new(store.clone()),
            store,
            schema,
        }
    }

    fn load(&self, key: &str) -> Result<Option<State>, LoadError> {
        wait(self.adapter.load(&to_key(key)))
    }

    fn save(&self, state: State) -> Result<String, SaveError> {
        wait(self.adapter.save(state, &HALF_AN_HOUR)).map(String::from)
    }

    fn update(&self, key: &str, state: State) -> Result<String, UpdateError> {
        wait(self.adapter.update(to_key(key), state, &HALF_AN_HOUR)).map(String::from)
    }

    fn touch(&self, key: &str, period: Period) -> Result<(), String> {
        wait(self.adapter.update_ttl(&to_key(key), &period)).map_err(|e| e.to_string())
    }

    fn delete(&self, key: &str) -> Result<(), String> {
        wait(self.adapter.delete(&to_key(key))).map_err(|e| e.to_string())
    }

    /// Returns the key of a session that expires in half an hour.
    fn saved(&self, text: &str) -> String {
        self.save(state(text)).unwrap()
    }

    /// The remaining time of a session, in seconds.
    fn left(&self, key: &str) -> f64 {
        let key: Key = key.parse().unwrap();
        let session = wait(session_postgres::AsyncStore::get(&self.store, &key));
        session.unwrap().period.as_seconds_f64()
    }
}

fn wait<T>(call: impl Future<Output = T>) -> T {
    System::new().block_on(call)
}

fn to_key(text: &str) -> SessionKey {
    text.to_owned().try_into().unwrap()
}

/// The entries of a state are JSON.
fn state(text: &str) -> State {
    HashMap::from([("text".to_owned(), format!("\"{text}\""))])
}
