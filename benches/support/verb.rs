//! The calls that are measured: blocking, async, and as statements without a store.

use std::{future::Future, hint::black_box, pin::Pin};

use session_postgres::{
    AsyncStore, Key, Store,
    postgres::{Client, Statement},
};

use super::{Bench, key_of};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verb {
    Get,
    Set,
    Generate,
    Clear,
}

/// `Clear` is last because it removes the sessions. Clearing an absent session is measured like any other.
pub(crate) const VERBS: [Verb; 4] = [Verb::Get, Verb::Set, Verb::Generate, Verb::Clear];

/// Makes one call of an async caller. The argument is the number of the call.
pub(crate) type AsyncCall = Box<dyn Fn(usize) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Verb {
    pub(crate) fn call(self, store: &impl Store, key: &Key, value: &str) {
        match self {
            Verb::Get => drop(store.get(key).unwrap()),
            Verb::Set => store.set(key, value, None).unwrap(),
            Verb::Generate => drop(store.generate(Some(value), None).unwrap()),
            Verb::Clear => store.clear(key).unwrap(),
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

    /// Prepares the statement that a program without a session store would use.
    pub(crate) fn prepare(self, client: &mut Client) -> Statement {
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
        client.prepare(sql).unwrap()
    }

    /// Executes a statement of [`Verb::prepare`].
    pub(crate) fn execute(self, client: &mut Client, prepared: &Statement, key: &Key, value: &str) {
        match self {
            Verb::Get => {
                let row = client.query_opt(prepared, &[&key.as_str()]);
                black_box(row.unwrap().unwrap().get::<_, String>(0));
            }
            Verb::Set => {
                client.execute(prepared, &[&key.as_str(), &value]).unwrap();
            }
            Verb::Generate => {
                let key = Key::generate().unwrap();
                client.execute(prepared, &[&key.as_str(), &value]).unwrap();
            }
            Verb::Clear => {
                client.execute(prepared, &[&key.as_str()]).unwrap();
            }
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
            let key = key_of(&keys, caller, call).clone();
            let (store, value) = (store.clone(), value.clone());
            Box::pin(async move { verb.call_async(&store, &key, &value).await })
        })
    }

    /// Returns a caller that executes statements on its own connection.
    pub(crate) fn plain_caller(&self, verb: Verb, caller: usize) -> impl FnMut(usize) + Send + '_ {
        let mut client = self.client();
        let prepared = verb.prepare(&mut client);
        move |call| {
            let key = key_of(&self.keys, caller, call);
            verb.execute(&mut client, &prepared, key, &self.value);
        }
    }

    pub(crate) fn blocking_caller<S: Store>(
        &self,
        store: &S,
        verb: Verb,
        caller: usize,
    ) -> impl FnMut(usize) + Send {
        move |call| verb.call(store, key_of(&self.keys, caller, call), &self.value)
    }
}
