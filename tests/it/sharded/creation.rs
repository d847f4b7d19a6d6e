//! New sessions: the slots of their keys, and the servers that get them.

use std::collections::HashMap;

use session_postgres::{
    Error, Key, MemoryStore, Offload, OffloadBuilder, Period, PostgresStore, SessionFields, Store,
    ValueType,
};
use tokio::runtime::Runtime;

use super::{builder, map, program, store_on};
use crate::support::{
    blocking::Blocking,
    sharded::{MAP, Schemas},
    verbs::of_owner,
    wait_until,
};

/// Creates and moves sessions in every way. Returns their keys.
fn keys_of_every_kind(store: &dyn Store) -> Vec<Key> {
    let mut keys = Vec::new();
    for _ in 0..6 {
        keys.push(store.generate(Some("lobster"), None).unwrap());
        keys.push(store.generate_with(of_owner("crab")).unwrap());
        let many = store.generate_many(&[SessionFields::new(Some("lobster"), None); 3]);
        keys.extend(many.into_iter().map(Result::unwrap));
        let own = store.new_key(None).unwrap();
        store.insert(&own, Some("lobster"), None).unwrap();
        keys.push(own);
        let moved = [(); 4].map(|()| store.generate(Some("lobster"), None).unwrap());
        keys.push(store.rotate(&moved[0]).unwrap());
        keys.push(store.rotate_with(&moved[1], of_owner("crab")).unwrap());
        let new = store.new_key(Some(&moved[2])).unwrap();
        store
            .rotate_to(&moved[2], &new, SessionFields::default())
            .unwrap();
        keys.push(new);
        store.clear(&moved[3]).unwrap();
        for old in &moved {
            assert!(matches!(store.get(old), Err(Error::NotFound)));
        }
    }
    keys
}

/// Creates and moves sessions with the store of one server.
fn keys_of_one_server(store: &PostgresStore) -> Vec<Key> {
    let direct = store.generate(Some("lobster"), None).unwrap();
    let rotated = store.rotate(&direct).unwrap();
    let made = store.transaction(|transaction| {
        let new = transaction.generate(Some("lobster"), None)?;
        let first = transaction.rotate(&rotated)?;
        Ok::<_, Error>([new, transaction.rotate_with(&first, of_owner("crab"))?])
    });
    made.unwrap().into()
}

#[test]
fn the_slot_of_each_key_belongs_to_the_server_that_has_its_row() {
    for hash_keys in [false, true] {
        let Schemas(schemas) = Schemas::new();
        let stores = || {
            schemas.each_ref().map(|schema| {
                let table = schema.builder().hash_keys(hash_keys);
                let store = table.from_pool(schema.pool(2));
                store.create_table().unwrap();
                store
            })
        };
        let blocking = builder(MAP, stores()).build().unwrap();
        let mut keys = keys_of_every_kind(&blocking);
        for name in ["a", "b", "c"] {
            let of_server = keys_of_one_server(&store_on(&blocking, name));
            assert!(
                of_server
                    .iter()
                    .all(|key| map(MAP).server_of(key) == Some(name))
            );
            keys.extend(of_server);
        }
        let facades = stores().map(Offload::new);
        let facades =
            Blocking::connect(async || builder(MAP, facades).build_async().await.unwrap());
        keys.extend(keys_of_every_kind(&facades));

        let plain = stores();
        let servers = ["a", "b", "c"]
            .into_iter()
            .zip(&plain)
            .collect::<HashMap<_, _>>();
        for key in &keys {
            let server = servers[map(MAP).server_of(key).unwrap()];
            assert_eq!(server.get(key).unwrap().value, "lobster");
            assert_eq!(blocking.get(key).unwrap().value, "lobster");
            // The blocking store is the one of that server.
            assert!(blocking.store_of(key).unwrap().get(key).is_ok());
        }
        let rows = schemas.iter().map(|schema| schema.count("true"));
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.iter().sum::<i64>() as usize, keys.len());
        assert!(rows.iter().all(|rows| *rows > 4), "{rows:?}");
    }
}

fn counts(text: &str, keys: impl Iterator<Item = Key>) -> [usize; 3] {
    let mut counts = [0; 3];
    for key in keys {
        let server = map(text).server_of(&key).unwrap().to_owned();
        counts[usize::from(server.as_bytes()[0] - b'a')] += 1;
    }
    counts
}

#[test]
fn servers_get_new_sessions_in_proportion_to_their_shares() {
    // The number of slots does not matter.
    let text = "version=1 a=0 b=1 c=2-4095";
    let stores = [(); 3].map(|()| MemoryStore::new());
    let shares = builder(text, stores)
        .share("a", 3)
        .share("b", 1)
        .share("c", 0);
    let store = shares.build().unwrap();
    // Of 2,000 sessions, the standard deviation is 20.
    let as_expected = |counts: [usize; 3]| {
        assert!((1_300..=1_700).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2], 0);
    };
    let one_by_one = (0..2_000).map(|_| store.generate(None, None).unwrap());
    as_expected(counts(text, one_by_one));
    let together = store.generate_many(&vec![SessionFields::default(); 2_000]);
    as_expected(counts(text, together.into_iter().map(Result::unwrap)));
    as_expected(counts(
        text,
        (0..2_000).map(|_| store.new_key(None).unwrap()),
    ));

    store.set_share("a", 0).unwrap();
    store.set_share("c", 1).unwrap();
    let [a, b, c] = counts(text, (0..500).map(|_| store.generate(None, None).unwrap()));
    assert!(a == 0 && b > 150 && c > 150, "{a} {b} {c}");
}

pub(super) const FULL: &str = "
    CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER is_full BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION is_full()";

fn is_available(store: &dyn Fn() -> Vec<(String, bool)>, name: &str) -> bool {
    store()
        .into_iter()
        .any(|(of, is_available)| of == name && is_available)
}

#[test]
fn a_server_that_rejects_new_sessions_is_left_out_until_it_accepts_them_again() {
    let Schemas(schemas) = Schemas::new();
    let blocking = program(MAP, &schemas).unwrap();
    let runtime = Runtime::new().unwrap();
    let facades = super::async_program(&runtime, MAP, &schemas).unwrap();
    let facades_of = facades.clone();
    let on_tasks = Blocking::new(|| facades);
    let on_b = loop {
        let key = blocking.generate(Some("lobster"), None).unwrap();
        if map(MAP).server_of(&key) == Some("b") {
            break key;
        }
    };
    schemas[1].run(FULL);
    let blocking_servers = || {
        let servers = blocking.servers().into_iter();
        servers
            .map(|server| (server.name, server.is_available))
            .collect()
    };
    let facade_servers = || {
        let servers = facades_of.servers().into_iter();
        servers
            .map(|server| (server.name, server.is_available))
            .collect()
    };
    let stores: [(&dyn Store, &dyn Fn() -> _); 2] =
        [(&blocking, &blocking_servers), (&on_tasks, &facade_servers)];
    for (store, servers) in stores {
        let mut keys: Vec<_> = (0..20)
            .map(|_| store.generate(None, None).unwrap())
            .collect();
        let many = store.generate_many(&[SessionFields::default(); 20]);
        keys.extend(many.into_iter().map(Result::unwrap));
        assert!(keys.iter().all(|key| map(MAP).server_of(key) != Some("b")));
        assert!(!is_available(servers, "b"));
        assert!(is_available(servers, "a") && is_available(servers, "c"));
        // The sessions that it has are not affected.
        store.set(&on_b, "crab", None).unwrap();
        // An error about the call does not say that the server accepts new sessions.
        let own = super::key_in(2_000);
        let invalid = store.insert(&own, Some("NUL \0"), None);
        assert!(
            matches!(invalid, Err(Error::InvalidValue(_))),
            "{invalid:?}"
        );
        assert!(!is_available(servers, "b"));
    }
    schemas[1].run("DROP TRIGGER is_full ON session");
    for (store, servers) in stores {
        wait_until("a new session on the server", || {
            let key = store.generate(None, None).unwrap();
            map(MAP).server_of(&key) == Some("b")
        });
        assert!(is_available(servers, "b"));
    }
}

#[test]
fn an_error_about_the_call_does_not_close_a_server() {
    let Schemas(schemas) = Schemas::new();
    let stores = schemas.each_ref().map(|schema| {
        let store = schema.builder().value_type(ValueType::Jsonb);
        let store = store.from_pool(schema.pool(1));
        store.create_table().unwrap();
        store
    });
    let store = builder(MAP, stores).build().unwrap();
    let fields = |value, owner| SessionFields {
        value: Some(value),
        expiry: None,
        owner,
    };
    for (fields, expected) in [
        (fields("no JSON", None), "Database"),
        (fields("\"\\u0000\"", None), "Database"),
        (fields("{\"a\": \0}", None), "InvalidValue"),
        (fields("{}", Some("")), "InvalidOwner"),
        (
            SessionFields::new(Some("{}"), Some(Period::MAX)),
            "PeriodOutOfRange",
        ),
    ] {
        for _ in 0..4 {
            let made = store.generate_with(fields).unwrap_err();
            assert!(format!("{made:?}").starts_with(expected), "{made:?}");
            let many = store.generate_many(&[fields, SessionFields::default()]);
            assert!(format!("{:?}", many[0]).contains(expected), "{many:?}");
            assert!(many[1].is_ok(), "{many:?}");
        }
        assert!(store.servers().iter().all(|server| server.is_available));
    }
    let own = store.new_key(None).unwrap();
    store.insert(&own, None, None).unwrap();
    let exists = store.insert(&own, None, None);
    assert!(matches!(exists, Err(Error::KeyExists)));
    assert!(store.servers().iter().all(|server| server.is_available));
}

#[test]
fn an_overloaded_facade_gets_no_new_sessions_until_it_has_room() {
    let runtime = Runtime::new().unwrap();
    let text = "version=1 a=0-9 b=10-19";
    let facade = || {
        let one = OffloadBuilder::default().max_concurrency(1).max_waiting(1);
        one.build(MemoryStore::new())
    };
    let store = runtime.block_on(builder(text, [facade(), facade()]).build_async());
    let store = store.unwrap();
    let full = store_on(&store, "a");
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let works = runtime.spawn({
        let full = full.clone();
        async move { full.run(move |_| gate.recv()).await }
    });
    wait_until("the only worker works", || full.stats().running == 1);
    let waits = runtime.spawn({
        let full = full.clone();
        async move { full.run(|_| ()).await }
    });
    wait_until("a call waits", || full.stats().waiting == 1);
    let blocking = Blocking::new(|| store.clone());
    for _ in 0..30 {
        let key = blocking.generate(None, None).unwrap();
        assert_eq!(map(text).server_of(&key), Some("b"));
    }
    assert!(!store.servers()[0].is_available);
    drop(open);
    runtime.block_on(works).unwrap().unwrap().unwrap_err();
    runtime.block_on(waits).unwrap().unwrap();
    wait_until("a new session on the server", || {
        let key = blocking.generate(None, None).unwrap();
        map(text).server_of(&key) == Some("a")
    });
}
