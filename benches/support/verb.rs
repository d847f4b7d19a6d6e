//! The calls that are measured.

use std::{future::Future, hint::black_box, pin::Pin};

use session_postgres::{AsyncStore, Key, Store, postgres::Client};

use super::Bench;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verb {
    Get,
    Set,
    Generate,
    Clear,
}

pub(crate) const VERBS: [Verb; 4] = [Verb::Get, Verb::Set, Verb::Generate, Verb::Clear];

/// Makes one call of an async caller, by its number.
pub(crate) type AsyncCall = Box<dyn Fn(usize) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Verb {
    /// A session that is not there is as good as one that is: a clear takes it.
    pub(crate) fn call(self, store: &impl Store, key: &Key, value: &str) {
        match self {
            Verb::Get => drop(store.get(key).unwrap()),
            Verb::Set => store.set(key, value, None).unwrap(),
            Verb::Generate => drop(store.generate(Some(value), None).unwrap()),
            Verb::Clear => store.clear(key).unwrap(),
        }
    }

    /// The same, as one would write it by hand, on a connection of its own.
    pub(crate) fn by_hand(self, mut client: Client) -> impl FnMut(&Key, &str) {
        let sql = match self {
            Verb::Get => {
                "SELECT session_data, expire_date, now() FROM session \
                 WHERE session_key = $1 AND expire_date > now()"
            }
            Verb::Set => {
                "UPDATE session SET expire_date = now() + interval '7 days', session_data = $2 \
                 WHERE session_key = $1 AND expire_date > now()"
            }
            Verb::Generate => "INSERT INTO session VALUES ($1, now() + interval '7 days', $2)",
            Verb::Clear => "DELETE FROM session WHERE session_key = $1",
        };
        let statement = client.prepare(sql).unwrap();
        move |key, value| {
            let made = (self == Verb::Generate).then(|| Key::generate().unwrap());
            let key = made.as_ref().unwrap_or(key).as_str();
            let rows = match self {
                Verb::Get | Verb::Clear => client.query(&statement, &[&key]),
                Verb::Set | Verb::Generate => client.query(&statement, &[&key, &value]),
            };
            black_box(rows.unwrap());
        }
    }

    async fn call_async(self, store: &impl AsyncStore, key: &Key, value: &str) {
        match self {
            Verb::Get => drop(store.get(key).await.unwrap()),
            Verb::Set => store.set(key, value, None).await.unwrap(),
            Verb::Generate => drop(store.generate(Some(value), None).await.unwrap()),
            Verb::Clear => store.clear(key).await.unwrap(),
        }
    }
}

impl Bench {
    pub(crate) fn async_caller<S: AsyncStore + Clone>(
        &self,
        store: &S,
        verb: Verb,
        caller: usize,
    ) -> AsyncCall {
        let (store, keys, value) = (store.clone(), self.keys.clone(), self.value.clone());
        Box::new(move |call| {
            let key = keys[place(keys.len(), caller, call)].clone();
            let (store, value) = (store.clone(), value.clone());
            Box::pin(async move { verb.call_async(&store, &key, &value).await })
        })
    }
}

/// Which key a caller's call is about: no two callers follow each other.
pub(crate) fn place(keys: usize, caller: usize, call: usize) -> usize {
    (caller * 7919 + call * 31) % keys
}
