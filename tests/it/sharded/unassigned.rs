//! Keys in slots that no server has.

use session_postgres::{AsyncStore, Error, Key, MemoryStore, Method, Offload, Sharded, Store};
use tokio::{runtime::Runtime, task::JoinSet};

use super::{async_program, builder, key_in, own_servers::OwnServers, program, store_on};
use crate::support::{blocking::Blocking, sharded::Schemas, wait_until};

const OLD: &str = "version=1 a=0-9 b=10-19";
const NEW: &str = "version=2 a=0-9 b=10-19 c=20-29";

type Verb = (&'static str, fn(&dyn Store, &Key) -> Result<(), Error>);

const VERBS: [Verb; 14] = [
    ("get", |store, key| store.get(key).map(drop)),
    ("find", |store, key| match store.find(key)? {
        Some(_) => Ok(()),
        None => Err(Error::NotFound),
    }),
    ("renew", |store, key| store.renew(key, None).map(drop)),
    ("set", |store, key| store.set(key, "crab", None)),
    ("touch", |store, key| store.touch(key, None)),
    ("rotate", |store, key| store.rotate(key).map(drop)),
    ("rotate_with", |store, key| {
        let login = crate::support::verbs::of_owner("crab");
        store.rotate_with(key, login).map(drop)
    }),
    ("set_owner", |store, key| store.set_owner(key, Some("crab"))),
    ("update", |store, key| {
        store
            .update(key, None, &mut |_| Some("crab".to_owned()))
            .map(drop)
    }),
    ("get_many", |store, key| {
        store.get_many(&[key]).remove(0).map(drop)
    }),
    ("renew_many", |store, key| {
        store.renew_many(&[(key, None)]).remove(0).map(drop)
    }),
    ("set_many", |store, key| {
        store.set_many(&[(key, "crab", None)]).remove(0)
    }),
    ("try_set_many", |store, key| {
        store.try_set_many(&[(key, "crab", None)]).remove(0)
    }),
    ("touch_many", |store, key| {
        store.touch_many(&[(key, None)]).remove(0)
    }),
];

const CLEARS: [Verb; 3] = [
    ("clear", |store, key| store.clear(key)),
    ("clear_many", |store, key| {
        store.clear_many(&[key]).remove(0)
    }),
    ("try_clear_many", |store, key| {
        store.try_clear_many(&[key]).remove(0)
    }),
];

#[test]
fn a_key_of_a_server_that_another_program_has_added_is_not_reported_absent() {
    let Schemas(schemas) = Schemas::new();
    let runtime = Runtime::new().unwrap();
    let blocking = program(OLD, &schemas[..2]).unwrap();
    let facades = async_program(&runtime, OLD, &schemas[..2]).unwrap();
    let facades = Blocking::new(|| facades);
    let stores: [&dyn Store; 2] = [&blocking, &facades];
    let unknown = key_in(20);
    for store in stores {
        for (verb, call) in VERBS {
            let result = call(store, &unknown);
            assert!(matches!(result, Err(Error::NotFound)), "{verb}: {result:?}");
        }
        for (verb, call) in CLEARS {
            assert!(call(store, &unknown).is_ok(), "{verb}");
        }
    }
    let known = blocking.generate(Some("lobster"), None).unwrap();

    let other = program(NEW, &schemas).unwrap();
    let session = key_in(20);
    other.insert(&session, Some("lobster"), None).unwrap();
    let is_refused = |result: &Result<(), Error>| matches!(result, Err(Error::ShardMap { .. }));
    for store in stores {
        // The last check may have been just before.
        wait_until("the program notices the newer map", || {
            is_refused(&store.get(&session).map(drop))
        });
        for (verb, call) in VERBS.into_iter().chain(CLEARS) {
            let result = call(store, &session);
            assert!(is_refused(&result), "{verb}: {result:?}");
        }
        let inserted = store.insert(&key_in(21), None, None);
        assert!(is_refused(&inserted), "{inserted:?}");
        // A program that another one overtakes goes on with the sessions of the servers that it knows.
        store.set(&known, "crab", None).unwrap();
        let new = store.generate(Some("crab"), None).unwrap();
        assert_eq!(other.get(&new).unwrap().value, "crab");
        assert!(store.owned("crab").unwrap().is_empty());
    }
    assert_eq!(other.get(&session).unwrap().value, "lobster");
}

#[test]
fn calls_at_the_same_time_wait_for_a_check_that_begins_after_them() {
    let Schemas(schemas) = Schemas::new();
    let runtime = Runtime::new().unwrap();
    let facades = async_program(&runtime, OLD, &schemas[..2]).unwrap();
    let blocking = program(OLD, &schemas[..2]).unwrap();
    let session = key_in(20);
    for absent in [
        runtime.block_on(facades.get(&session)),
        blocking.get(&session),
    ] {
        assert!(matches!(absent, Err(Error::NotFound)));
    }
    let other = program(NEW, &schemas).unwrap();
    other.insert(&session, Some("lobster"), None).unwrap();
    let answers = runtime.block_on(async {
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            let (facades, session) = (facades.clone(), session.clone());
            calls.spawn(async move { facades.get(&session).await });
        }
        calls.join_all().await
    });
    for answer in answers {
        assert!(matches!(answer, Err(Error::ShardMap { .. })), "{answer:?}");
    }
    let answers = std::thread::scope(|scope| {
        let calls = [(); 8].map(|()| scope.spawn(|| blocking.get(&session)));
        calls.map(|call| call.join().unwrap())
    });
    for answer in answers {
        assert!(matches!(answer, Err(Error::ShardMap { .. })), "{answer:?}");
    }
}

/// How often each server was asked about the map, or for other work.
fn asked(store: &Sharded<Offload<MemoryStore>>) -> Vec<u64> {
    let of = |name| store_on(store, name).stats().calls.of(Method::Run);
    ["a", "b"].map(of).into()
}

#[test]
fn a_flood_of_keys_without_a_server_causes_few_checks() {
    let runtime = Runtime::new().unwrap();
    let facades = [(); 2].map(|()| Offload::new(MemoryStore::new()));
    let store = runtime
        .block_on(builder(OLD, facades).build_async())
        .unwrap();
    runtime.block_on(async {
        let mut calls = JoinSet::new();
        for _ in 0..5_000 {
            let (store, key) = (store.clone(), key_in(20));
            calls.spawn(async move { store.get(&key).await });
        }
        for call in calls.join_all().await {
            assert!(matches!(call, Err(Error::NotFound)), "{call:?}");
        }
    });
    // Calls that wait share a check.
    let asked = asked(&store);
    assert!(asked.iter().all(|count| *count <= 1_000), "{asked:?}");
    // Other calls cause none.
    let before = asked;
    runtime.block_on(async {
        let key = store.generate(Some("lobster"), None).await.unwrap();
        store.get(&key).await.unwrap();
    });
    assert_eq!(self::asked(&store), before);
}

#[test]
fn a_key_without_a_server_is_absent_while_one_of_three_servers_is_down() {
    let servers = OwnServers::lock();
    let text = "version=1 a=0-9 b=10-19 c=20-29";
    let blocking = servers.blocking(text, 3).build().unwrap();
    let facades = Blocking::new(|| servers.tasks(text, 3));
    servers.stop("b");
    for store in [&blocking as &dyn Store, &facades] {
        let absent = store.get(&key_in(30));
        assert!(matches!(absent, Err(Error::NotFound)), "{absent:?}");
        store.clear(&key_in(30)).unwrap();
    }
    // With fewer, another server may keep a newer map.
    servers.stop("c");
    for store in [&blocking as &dyn Store, &facades] {
        wait_until("a new check", || {
            !matches!(store.get(&key_in(30)), Err(Error::NotFound))
        });
    }
}
