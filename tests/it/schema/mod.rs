//! Creating and naming the table, and the privileges and triggers on it.

mod create;
mod names;
mod partition_live;
mod partitions;
mod privileges;
mod triggers;

use session_postgres::{Period, PostgresStore, SessionFields, Store};

/// Calls every verb once, on sessions that exist.
fn every_verb(store: &PostgresStore) {
    let key = store.generate(None, None).unwrap();
    store.set(&key, "lobster", None).unwrap();
    store.touch(&key, None).unwrap();
    let key = store.rotate(&key).unwrap();
    store
        .update(&key, None, &mut |_| Some("crab".into()))
        .unwrap();
    assert_eq!(store.get(&key).unwrap().value, "crab");
    store.clear(&key).unwrap();
    store.insert(&key, None, None).unwrap();
    let made = store.generate_many(&[
        SessionFields::new(None, None),
        SessionFields::new(None, None),
    ]);
    let keys: Vec<_> = made.iter().map(|key| key.as_ref().unwrap()).collect();
    assert!(store.set_many(&[(keys[0], "a", None), (keys[1], "b", None)])[1].is_ok());
    assert!(store.touch_many(&[(keys[0], Some(Period::HOUR))])[0].is_ok());
    assert!(store.get_many(&keys).iter().all(Result::is_ok));
    assert!(store.clear_many(&keys).iter().all(Result::is_ok));
    assert!(store.insert_many(&[(keys[0], None, None)])[0].is_ok());
}
