//! The verbs for many sessions, such as `set_many`.

mod failures;
mod locks;
mod same_session;
mod size;

use session_postgres::{Error, Key, PostgresStore, SessionFields, Store, postgres::NoTls};

use crate::support::{database::Schema, proxy::Proxy};

/// Creates `count` sessions with the value `old`.
fn generated(store: &impl Store, count: usize) -> Vec<Key> {
    let keys = store.generate_many(&vec![SessionFields::new(Some("old"), None); count]);
    keys.into_iter().map(Result::unwrap).collect()
}

/// Returns a store on one connection through a proxy. The statement for `get` is prepared, and the counters of
/// the proxy are zero.
fn counted(schema: &Schema, settings: &str) -> (Proxy, PostgresStore) {
    let proxy = Proxy::to(&schema.config());
    let mut client = proxy.config(&schema.config()).connect(NoTls).unwrap();
    client.batch_execute(settings).unwrap();
    let store = schema.builder().from_client(client);
    let absent = Key::generate().unwrap();
    assert!(matches!(store.get(&absent), Err(Error::NotFound)));
    proxy.counts();
    proxy.bytes();
    (proxy, store)
}

/// Returns the number of statements since the last call.
fn statements(proxy: &Proxy) -> usize {
    proxy.counts().1
}
