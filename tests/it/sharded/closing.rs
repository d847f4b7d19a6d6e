//! Servers that are closed for new sessions.

use session_postgres::{Error, MemoryStore, SessionFields, Store};

use super::{builder, key_in, map, program};
use crate::support::{database::Schema, sharded::Schemas};

const TEXT: &str = "version=1 a=0-9 b=10-19 c=20-29 retired=30";

fn assert_not_open<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    match result {
        Err(e @ Error::NotOpen { .. }) => assert!(e.to_string().contains(expected), "{e}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_server_gets_no_new_sessions_and_keeps_those_that_it_has() {
    let Schemas(schemas) = Schemas::new();
    let store = program(TEXT, &schemas).unwrap();
    let [a, b, c] = [0, 10, 20].map(|slot| {
        let key = key_in(slot);
        store.insert(&key, Some("lobster"), None).unwrap();
        key
    });
    store.set_share("b", 0).unwrap();
    let many = store.generate_many(&[SessionFields::default(); 40]);
    let one_by_one = (0..20).map(|_| store.generate(None, None));
    for key in one_by_one.chain(many) {
        assert_ne!(map(TEXT).server_of(&key.unwrap()), Some("b"));
    }
    // Its session lives on, and stays there.
    store.set(&b, "crab", None).unwrap();
    let moved = store.rotate(&b).unwrap();
    assert_eq!(map(TEXT).server_of(&moved), Some("b"));
    let new = store.new_key(Some(&moved)).unwrap();
    store
        .rotate_to(&moved, &new, SessionFields::default())
        .unwrap();
    let servers = store.servers();
    assert_eq!(servers[1].share, 0);
    assert_eq!(servers[1].store.count().unwrap(), 1);
    assert_eq!(store.get(&new).unwrap().value, "crab");
    // It is closed in this program only.
    let other = program(TEXT, &schemas).unwrap();
    other.insert(&key_in(11), None, None).unwrap();

    store.clear(&new).unwrap();
    for key in [&a, &c] {
        assert_eq!(store.get(key).unwrap().value, "lobster");
    }
    store.set_share("b", 1).unwrap();
    store.insert(&key_in(12), None, None).unwrap();
}

#[test]
fn a_key_of_the_caller_is_refused_if_no_server_is_open_for_it() {
    let Schemas(schemas) = Schemas::new();
    let store = program(TEXT, &schemas).unwrap();
    store.set_share("b", 0).unwrap();
    let cases = [
        (10, "server b is closed for new sessions"),
        (30, "its slot is retired"),
        (31, "its slot is assigned to no server"),
    ];
    for (slot, expected) in cases {
        let key = key_in(slot);
        assert_not_open(store.insert(&key, None, None), expected);
        assert_not_open(store.insert(&key, Some("lobster"), None), expected);
        assert!(matches!(store.get(&key), Err(Error::NotFound)));
    }
    let keys = [0, 10, 20, 30, 1, 31].map(key_in);
    let calls = keys.each_ref().map(|key| (key, Some("lobster"), None));
    for results in [store.insert_many(&calls), store.try_insert_many(&calls)] {
        for (place, expected) in [(1, cases[0].1), (3, cases[1].1), (5, cases[2].1)] {
            assert_not_open(results[place].clone(), expected);
        }
        for place in [0, 2, 4] {
            assert!(matches!(results[place], Ok(()) | Err(Error::KeyExists)));
        }
    }
    // A session stays on its server.
    let found = keys.each_ref().map(|key| store.get(key).is_ok());
    assert_eq!(found, [true, false, true, false, true, false]);
    let other = store.rotate_to(&keys[0], &key_in(20), SessionFields::default());
    assert!(matches!(other, Err(Error::OtherServer)));
    let rows: Vec<_> = schemas
        .iter()
        .map(|schema: &Schema| schema.count("true"))
        .collect();
    assert_eq!(rows, [2, 0, 1]);
}

#[test]
fn creating_a_session_fails_if_all_servers_are_closed() {
    let stores = [(); 3].map(|()| MemoryStore::new());
    let store = builder(TEXT, stores).build().unwrap();
    let key = store.generate(None, None).unwrap();
    for name in ["a", "b", "c"] {
        store.set_share(name, 0).unwrap();
    }
    let expected = "all servers are closed";
    assert_not_open(store.generate(None, None), expected);
    assert_not_open(store.new_key(None), expected);
    for result in store.generate_many(&[SessionFields::default(); 3]) {
        assert_not_open(result, expected);
    }
    let moved = store.rotate(&key).unwrap();
    store.set(&moved, "lobster", None).unwrap();
    assert!(store.new_key(Some(&moved)).is_ok());
}
