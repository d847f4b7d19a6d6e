//! Round trips and statements of each verb, counted by a proxy.

use std::time::Instant;

use session_postgres::{
    Error, Key, PostgresStore, SessionFields, Store, postgres::NoTls, r2d2::Pool,
};

use crate::support::{
    IDLE,
    database::{Manager, Schema},
    proxy::Proxy,
    wait_until,
};

/// A store that connects through the proxy.
fn through(
    proxy: &Proxy,
    schema: &Schema,
    prepared: bool,
    test_on_check_out: bool,
) -> PostgresStore {
    let manager = Manager::new(proxy.config(&schema.config()), NoTls);
    let pool = Pool::builder()
        .max_size(1)
        .test_on_check_out(test_on_check_out);
    schema
        .builder()
        .prepared(prepared)
        .from_pool(pool.build(manager).unwrap())
}

/// A verb's name, its number of round trips, and a call, which gets the keys of 300 sessions.
type Verb = (&'static str, usize, fn(&PostgresStore, &[Key]));

const VERBS: [Verb; 14] = [
    ("generate", 1, |store, _| {
        drop(store.generate(Some("x"), None).unwrap())
    }),
    ("get", 1, |store, keys| drop(store.get(&keys[0]).unwrap())),
    ("set", 1, |store, keys| {
        store.set(&keys[0], "x", None).unwrap()
    }),
    ("touch", 1, |store, keys| {
        store.touch(&keys[0], None).unwrap()
    }),
    ("insert", 1, |store, _| {
        store.insert(&Key::generate().unwrap(), None, None).unwrap()
    }),
    ("rotate", 1, |store, _| {
        assert!(store.rotate(&Key::generate().unwrap()).is_err())
    }),
    ("update", 4, |store, keys| {
        store
            .update(&keys[0], None, &mut |_| Some("x".into()))
            .unwrap();
    }),
    ("generate_many", 1, |store, _| {
        all_ok(store.generate_many(&[SessionFields::new(None, None); 300]))
    }),
    ("get_many", 1, |store, keys| {
        all_ok(store.get_many(&keys.iter().collect::<Vec<_>>()))
    }),
    ("set_many", 1, |store, keys| {
        all_ok(store.set_many(&keys.iter().map(|key| (key, "x", None)).collect::<Vec<_>>()));
    }),
    ("touch_many", 1, |store, keys| {
        all_ok(store.touch_many(&keys.iter().map(|key| (key, None)).collect::<Vec<_>>()));
    }),
    ("insert_many", 1, |store, _| {
        let keys: Vec<_> = (0..300).map(|_| Key::generate().unwrap()).collect();
        all_ok(store.insert_many(&keys.iter().map(|key| (key, None, None)).collect::<Vec<_>>()));
    }),
    ("clear", 1, |store, keys| store.clear(&keys[0]).unwrap()),
    ("clear_many", 1, |store, keys| {
        all_ok(store.clear_many(&keys.iter().collect::<Vec<_>>()))
    }),
];

fn all_ok<T>(results: Vec<Result<T, Error>>) {
    results.into_iter().for_each(|result| drop(result.unwrap()));
}

fn generated(store: &PostgresStore, count: usize) -> Vec<Key> {
    let keys = store.generate_many(&vec![SessionFields::new(Some("lobster"), None); count]);
    keys.into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_call_is_one_statement_and_one_round_trip_once_it_is_prepared() {
    let schema = Schema::new();
    schema.store();
    let proxy = Proxy::to(&schema.config());
    let store = through(&proxy, &schema, true, false);
    let keys = generated(&store, 300);
    for (name, round_trips, call) in VERBS {
        call(&store, &keys);
        wait_until("a call on a connection that is not idle", || {
            call(&store, &keys);
            proxy.counts();
            let begun = Instant::now();
            call(&store, &keys);
            let counts = proxy.counts();
            if begun.elapsed() > IDLE {
                return false;
            }
            assert_eq!(counts, (round_trips, round_trips), "{name}");
            true
        });
    }
}

#[test]
fn an_unprepared_call_is_one_round_trip_from_the_first_time() {
    let schema = Schema::new();
    schema.store();
    let proxy = Proxy::to(&schema.config());
    let store = through(&proxy, &schema, false, false);
    let keys = generated(&store, 300);
    for (name, round_trips, call) in VERBS {
        proxy.counts();
        call(&store, &keys);
        assert_eq!(proxy.counts(), (round_trips, round_trips), "{name}");
    }
}

#[test]
fn preparing_costs_one_round_trip_per_statement_and_connection() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let proxy = Proxy::to(&schema.config());
    let store = through(&proxy, &schema, true, false);
    // On a new connection, the store first asks which server it is connected to.
    store.get(&key).unwrap();
    assert_eq!(proxy.counts(), (1 + 2, 1 + 1));
    store.set(&key, "crab", None).unwrap();
    assert_eq!(proxy.counts(), (2, 1));
}

#[test]
fn a_write_on_an_idle_connection_costs_one_more_round_trip() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let proxy = Proxy::to(&schema.config());
    let store = through(&proxy, &schema, true, false);
    let rest = || {
        let begun = Instant::now();
        wait_until("the connection to be idle for a while", || {
            begun.elapsed() > IDLE
        });
        proxy.counts();
    };
    store.get(&key).unwrap();
    store.set(&key, "crab", None).unwrap();
    rest();
    store.get(&key).unwrap();
    assert_eq!(proxy.counts(), (1, 1));
    rest();
    store.set(&key, "crab", None).unwrap();
    assert_eq!(proxy.counts(), (2, 2));
}

#[test]
fn a_pool_that_tests_its_connections_costs_one_more_round_trip() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let proxy = Proxy::to(&schema.config());
    let store = through(&proxy, &schema, true, true);
    store.get(&key).unwrap();
    proxy.counts();
    store.get(&key).unwrap();
    assert_eq!(proxy.counts(), (2, 2));
}

#[test]
fn a_batch_is_one_transaction() {
    let schema = Schema::new();
    let store = schema.store();
    let keys = generated(&store, 500);
    let writers = || -> Vec<String> {
        let sql = "SELECT DISTINCT xmin::text FROM session";
        schema
            .client()
            .query(sql, &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect()
    };
    let made = writers();
    assert_eq!(made.len(), 1);
    all_ok(store.set_many(&keys.iter().map(|key| (key, "x", None)).collect::<Vec<_>>()));
    let set = writers();
    assert_eq!(set.len(), 1);
    assert_ne!(set, made);
}
