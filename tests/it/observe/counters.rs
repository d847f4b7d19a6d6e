//! Calls, errors and batches are counted.

use std::{future::ready, sync::mpsc, time::Duration};

use session_postgres::{
    AsyncStore, CallStats, Error, ErrorKind, Key, MemoryStore, Method, Offload, OffloadBuilder,
    SessionFields, Store,
};

use super::store_on_one;
use crate::support::{blocking::Blocking, database::Schema};

/// Calls each method of a store. The calls of `_many` methods are for two keys.
fn call_all(store: &dyn Store) {
    let fields = SessionFields::default;
    let [a, b] = [(); 2].map(|()| store.generate(None, None).unwrap());
    let made = store.generate_many(&[fields(), fields()]);
    assert!(made.iter().all(Result::is_ok));
    store.generate_with(fields()).unwrap();
    store.set(&a, "1", None).unwrap();
    store.set_many(&[(&a, "1", None), (&b, "2", None)]);
    store.get(&a).unwrap();
    store.find(&a).unwrap();
    store.get_many(&[&a, &b]);
    store.get_many(&[&a]);
    store.renew(&a, None).unwrap();
    store.renew_many(&[(&a, None), (&b, None)]);
    store.touch(&a, None).unwrap();
    store.touch_many(&[(&a, None), (&b, None)]);
    let [c, d, e] = [(); 3].map(|()| Key::generate().unwrap());
    store.insert(&c, None, None).unwrap();
    store.insert_many(&[(&d, None, None), (&e, None, None)]);
    let c = store.rotate(&c).unwrap();
    let c = store.rotate_with(&c, fields()).unwrap();
    let moved = Key::generate().unwrap();
    store.rotate_to(&c, &moved, fields()).unwrap();
    store.update(&a, None, &mut |_| None).unwrap();
    store.set_owner(&a, Some("user 42")).unwrap();
    let handle = store.owned("user 42").unwrap().remove(0).handle;
    store.clear_handle("user 42", &handle).unwrap();
    store.clear_owned("user 42", None).unwrap();
    store.clear(&b).unwrap();
    store.clear_many(&[&d, &e]);
    store.prune(10).unwrap();
}

/// Checks the counts after [`call_all`].
fn check_all(calls: &CallStats) {
    for method in Method::ALL.iter().copied() {
        let expected = match method {
            Method::Generate | Method::Get => 5,
            Method::Set | Method::Renew | Method::Touch | Method::Insert => 3,
            Method::Rotate | Method::Clear => 3,
            Method::Run => 0,
            _ => 1,
        };
        assert_eq!(calls.of(method), expected, "{method}");
    }
    assert_eq!((calls.total(), calls.errors()), (34, 0), "{calls:?}");
}

#[test]
fn a_store_counts_each_call_once() {
    let schema = Schema::new();
    let store = schema.store();
    call_all(&store);
    check_all(&store.stats().calls);

    store.with_client(|_| ()).unwrap();
    store.transaction(|_| Ok::<_, Error>(())).unwrap();
    assert_eq!(store.stats().calls.of(Method::Run), 2);
}

#[test]
fn a_facade_counts_each_call_once() {
    let store = Offload::new(MemoryStore::new());
    let facade = store.clone();
    let blocking = Blocking::new(|| facade);
    call_all(&blocking);
    check_all(&store.stats().calls);
}

#[test]
fn the_store_of_a_facade_counts_the_calls_of_each_batch() {
    let schema = Schema::new();
    let store = Offload::new(schema.store());
    let facade = store.clone();
    call_all(&Blocking::new(|| facade));
    check_all(&store.store_stats().calls);
}

#[test]
fn batches_are_counted_by_their_size() {
    let schema = Schema::new();
    let store = schema.store();
    let keys = [(); 5].map(|()| store.generate(None, None).unwrap());
    store.get_many(&keys.each_ref());
    store.get_many(&[]);
    let batches = store.stats().batches;
    assert_eq!(
        (batches.batches, batches.calls, batches.largest),
        (6, 10, 5)
    );
    let by_size = batches.by_size().filter(|(_, count)| *count > 0);
    assert_eq!(by_size.collect::<Vec<_>>(), [(1, 5), (8, 1)]);
}

#[test]
fn errors_are_counted_by_their_kind() {
    let schema = Schema::new();
    let store = schema.store();
    let absent = Key::generate().unwrap();
    assert!(store.get(&absent).is_err());
    let set = store.set_many(&[(&absent, "1", None), (&absent, "\0", None)]);
    assert!(set.iter().all(Result::is_err));
    let key = store.generate(None, None).unwrap();
    assert!(store.insert(&key, None, None).is_err());
    assert!(matches!(store.get(&key), Err(Error::NotSet)));

    let calls = store.stats().calls;
    assert_eq!(calls.errors_of(ErrorKind::NotFound), 2);
    assert_eq!(calls.errors_of(ErrorKind::InvalidValue), 1);
    assert_eq!(calls.errors_of(ErrorKind::KeyExists), 1);
    assert_eq!(calls.errors_of(ErrorKind::NotSet), 1);
    assert_eq!(calls.errors(), 5, "{calls:?}");
    let text = format!("{calls:?}");
    assert!(
        text.contains("\"not_found\": 2") && !text.contains("timed_out"),
        "{text}"
    );
}

#[test]
fn calls_over_the_threshold_are_slow() {
    let schema = Schema::new();
    let slow = store_on_one(&schema, schema.builder().slow_threshold(Duration::ZERO));
    let fast = schema.builder().slow_threshold(Duration::MAX);
    let fast = fast.from_pool(schema.pool(1));
    for store in [&slow, &fast] {
        let key = store.generate(None, None).unwrap();
        store.get_many(&[&key, &key]);
        store.prune(1).unwrap();
    }
    assert_eq!(
        (slow.stats().calls.slow(), fast.stats().calls.slow()),
        (3, 0)
    );

    let facade = OffloadBuilder::default().slow_threshold(Duration::ZERO);
    let facade = facade.build(MemoryStore::new());
    Blocking::new(|| facade.clone())
        .generate(None, None)
        .unwrap();
    assert_eq!(facade.stats().calls.slow(), 1);
}

#[tokio::test]
async fn a_dropped_call_is_counted_without_a_result_and_may_be_slow() {
    let store = OffloadBuilder::default()
        .max_concurrency(1)
        .slow_threshold(Duration::ZERO)
        .build(MemoryStore::new());
    let key = Key::generate().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let holder = store.clone();
    let held = tokio::spawn(async move { holder.run(move |_| released.recv()).await });
    while store.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    tokio::select! {
        biased;
        _ = store.clear(&key) => panic!("the only worker is busy"),
        () = ready(()) => {}
    }
    assert_eq!(store.stats().calls.slow(), 1);
    drop(release);
    held.await.unwrap().unwrap().unwrap_err();
    let calls = store.stats().calls;
    assert_eq!((calls.of(Method::Clear), calls.errors()), (1, 0));
}
