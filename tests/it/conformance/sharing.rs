//! Stores that several threads share.

use std::sync::Arc;

use session_postgres::Store;

use super::value;

rules! {
    threads_can_share_a_store
}

fn threads_can_share_a_store(store: &dyn Store) {
    let key = store.generate(Some("0"), None).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let add = |value: Option<&str>| {
                        Some((value.unwrap().parse::<u32>().unwrap() + 1).to_string())
                    };
                    store.update(&key, None, &mut { add }).unwrap();
                    let own = store.generate(Some("own"), None).unwrap();
                    assert_eq!(value(store, &own), "own");
                }
            });
        }
    });
    assert_eq!(value(store, &key), "80");
}

#[test]
fn an_arc_of_a_store_is_a_store() {
    fn is_store<S: Store>() {}
    is_store::<Arc<dyn Store>>();
    is_store::<Arc<session_postgres::MemoryStore>>();
    is_store::<session_postgres::PostgresStore>();
}
