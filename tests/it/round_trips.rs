//! Round trips and statements of each verb, counted by a proxy.

use std::time::Instant;

use session_postgres::{
    Error, Key, Period, PostgresStore, SessionFields, Store, postgres::NoTls, r2d2::Pool,
};

use crate::support::{
    IDLE,
    database::{Manager, Schema},
    proxy::Proxy,
    verbs::of_owner,
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

const VERBS: [Verb; 23] = [
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
    ("generate_with", 1, |store, _| {
        drop(store.generate_with(of_owner("crab")).unwrap());
    }),
    ("renew", 1, |store, keys| {
        store.renew(&keys[0], Some(Period::DAY)).unwrap();
    }),
    ("renew_many", 1, |store, keys| {
        all_ok(store.renew_many(&keys.iter().map(|key| (key, None)).collect::<Vec<_>>()));
    }),
    ("rotate_with", 1, |store, _| {
        let absent = Key::generate().unwrap();
        assert!(store.rotate_with(&absent, of_owner("crab")).is_err());
    }),
    ("rotate_to and back", 4, |store, keys| {
        let new = Key::generate().unwrap();
        let changes = SessionFields::default();
        store.rotate_to(&keys[0], &new, changes).unwrap();
        store.rotate_to(&new, &keys[0], changes).unwrap();
    }),
    ("set_owner", 1, |store, keys| {
        store.set_owner(&keys[0], Some("crab")).unwrap();
    }),
    ("owned", 1, |store, _| drop(store.owned("crab").unwrap())),
    ("clear_handle", 1, |store, _| {
        assert!(!store.clear_handle("crab", &"0".repeat(32)).unwrap());
    }),
    ("clear_owned", 1, |store, keys| {
        store.clear_owned("crab", Some(&keys[0])).unwrap();
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
fn a_transaction_costs_four_round_trips_and_those_of_its_calls() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let proxy = Proxy::to(&schema.config());
    let store = through(&proxy, &schema, true, false);
    store.get(&key).unwrap();
    proxy.counts();
    // The test of the connection, the begin, the test of the transaction, and the commit.
    store.transaction(|_| Ok::<_, Error>(())).unwrap();
    assert_eq!(proxy.counts().0, 4);
    store
        .transaction(|tx| {
            proxy.counts();
            let costs = |what: &str, round_trips| {
                assert_eq!(proxy.counts(), (round_trips, round_trips), "{what}");
            };
            tx.set(&key, "crab", None)?;
            costs("set", 1);
            tx.touch(&key, None)?;
            costs("touch", 1);
            tx.renew(&key, None)?;
            costs("renew", 1);
            tx.renew(&key, Some(Period::DAY * 30))?;
            costs("renew that writes", 2);
            tx.update(&key, None, |_| Some("prawn".to_owned()))?;
            costs("update", 2);
            tx.insert(&Key::generate()?, None, None)?;
            costs("insert", 1);
            tx.set_owner(&key, Some("crab"))?;
            costs("set_owner", 1);
            let new = tx.rotate_with(&key, of_owner("crab"))?;
            costs("rotate_with", 1);
            tx.rotate_to(&new, &key, SessionFields::default())?;
            costs("rotate_to", 2);
            tx.owned("crab")?;
            costs("owned", 1);
            tx.clear_owned("crab", None)?;
            costs("clear_owned", 1);
            Ok::<_, Error>(())
        })
        .unwrap();
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
