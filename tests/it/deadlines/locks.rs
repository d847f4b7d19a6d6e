//! Calls that wait for a lock, a connection or a long statement.

use std::time::{Duration, Instant};

use session_postgres::{Error, Key, PostgresStore, SessionFields, Store, postgres::Client};

use super::{SHORT, wait_for_server};
use crate::{
    connect::through,
    support::{
        PATIENCE,
        database::{Schema, lock, pid},
        patiently,
        tcp_proxy::TcpProxy,
        wait_until,
    },
};

type Verb = (&'static str, fn(&PostgresStore, &Key) -> Result<(), Error>);

/// All verbs that wait for the lock of a row.
const VERBS: [Verb; 7] = [
    ("set", |store, key| store.set(key, "crab", None)),
    ("touch", |store, key| store.touch(key, None)),
    ("clear", |store, key| store.clear(key)),
    ("rotate", |store, key| store.rotate(key).map(drop)),
    ("update", |store, key| {
        let edit = &mut |_: Option<&str>| Some("crab".to_owned());
        store.update(key, None, edit).map(drop)
    }),
    ("set_many", |store, key| {
        let other = Key::generate()?;
        let mut results = store.set_many(&[(&other, "crab", None), (key, "crab", None)]);
        results.pop().unwrap()
    }),
    ("clear_many", |store, key| {
        store.clear_many(&[key]).pop().unwrap()
    }),
];

#[test]
fn a_call_that_waits_for_a_lock_times_out_without_effect() {
    for legacy in [false, true] {
        let schema = Schema::new();
        schema.create_table(legacy);
        let proxy = TcpProxy::to(&schema.config());
        let builder = || schema.builder().timeout(SHORT).max_connections(1);
        let own = through(&proxy, &schema);
        // The driver's cancel request may arrive late. Therefore a connection of a pool is replaced.
        let stores = [
            (builder().from_pool(schema.pool(1)), true),
            (builder().from_client(schema.client()), false),
            (builder().connect(own).unwrap(), false),
        ];
        let key = patiently(|| stores[0].0.generate(Some("lobster"), None));
        let mut holder = schema.client();
        for (store, is_replaced) in stores {
            let before = pid(&store);
            let locked = lock(&mut holder, &key);
            for (name, verb) in &VERBS {
                let result = verb(&store, &key);
                let timed_out = matches!(result, Err(Error::TimedOut { .. }));
                assert!(timed_out, "{name}: {result:?}");
                // The server has cancelled the statement, although the row is still locked.
                wait_for_server(&schema);
            }
            locked.rollback().unwrap();
            assert_eq!(patiently(|| store.get(&key)).value, "lobster");
            assert_eq!(pid(&store) != before, is_replaced);
        }
    }
}

#[test]
fn all_calls_of_a_batch_share_one_time_limit() {
    const CALLS: usize = 1000;
    const { assert!(SHORT.as_millis() * CALLS as u128 > PATIENCE.as_millis()) };
    let schema = Schema::new();
    let keys = schema
        .store()
        .generate_many(&[SessionFields::new(Some("lobster"), None); CALLS]);
    let keys: Vec<_> = keys.into_iter().map(Result::unwrap).collect();
    let store = schema.builder().timeout(SHORT).from_pool(schema.pool(1));
    let mut holder = schema.client();
    let mut locked = holder.transaction().unwrap();
    locked
        .batch_execute("SELECT FROM session FOR UPDATE")
        .unwrap();
    // The rows are locked, so the calls wait one after another.
    let sets: Vec<_> = keys.iter().map(|key| (key, "crab", None)).collect();
    let begun = Instant::now();
    for result in store.set_many(&sets) {
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    }
    assert!(begun.elapsed() < PATIENCE);
    locked.rollback().unwrap();
    wait_for_server(&schema);
    assert_eq!(schema.count("session_data <> 'lobster'"), 0);
}

#[test]
fn timed_out_tells_how_long_the_caller_has_waited() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let schema = Schema::new();
    let setup = schema.store();
    let keys = [(); 8].map(|()| setup.generate(Some("lobster"), None).unwrap());
    let store = schema.builder().timeout(TIMEOUT).from_pool(schema.pool(2));
    let mut holder = schema.client();
    let mut locked = holder.transaction().unwrap();
    locked
        .batch_execute("SELECT FROM session FOR UPDATE")
        .unwrap();
    // Another transaction inserts this key and may still commit.
    let new = Key::generate().unwrap();
    let add = "INSERT INTO session VALUES ($1, now() + interval '1 day', NULL)";
    locked.execute(add, &[&new.as_str()]).unwrap();
    type Calls = fn(&PostgresStore, &[Key; 8], &Key) -> Vec<Result<(), Error>>;
    let calls: [Calls; 5] = [
        |store, keys, _| vec![store.set(&keys[0], "crab", None)],
        // The calls wait one after another.
        |store, keys, _| store.set_many(&keys.each_ref().map(|key| (key, "crab", None))),
        |store, keys, _| {
            let edit = &mut |_: Option<&str>| None;
            vec![store.update(&keys[0], None, edit).map(drop)]
        },
        |store, _, new| vec![store.insert(new, None, None)],
        |store, _, new| {
            store.insert_many(&[(new, None, None), (&Key::generate().unwrap(), None, None)])
        },
    ];
    for (number, call) in calls.into_iter().enumerate() {
        // A slow machine may take longer, but not every time.
        wait_until(
            "a call that returns within a second of its time limit",
            || {
                let begun = Instant::now();
                let results = call(&store, &keys, &new);
                let took = begun.elapsed();
                let late = results.into_iter().filter_map(Result::err);
                for error in late {
                    let Error::TimedOut { waited, .. } = error else {
                        panic!("{number}: {error:?}");
                    };
                    assert!((TIMEOUT..=took).contains(&waited), "{number}: {waited:?}");
                }
                took < TIMEOUT + Duration::from_secs(1)
            },
        );
    }
}

#[test]
fn a_call_that_finds_a_single_client_busy_times_out() {
    let schema = Schema::new();
    schema.store();
    let store = schema.builder().timeout(SHORT).from_client(schema.client());
    let late = store
        .with_client(|_| store.get(&Key::generate().unwrap()))
        .unwrap();
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    patiently(|| store.generate(None, None));
}

#[test]
fn with_client_has_no_time_limit() {
    let schema = Schema::new();
    let store = schema.builder().timeout(SHORT).from_pool(schema.pool(1));
    let sleep = |client: &mut Client| client.batch_execute("SELECT pg_sleep(0.5)");
    patiently(|| store.with_client(sleep)).unwrap();
}
