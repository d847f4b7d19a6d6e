//! The server that had all sessions before there was a map.

use session_postgres::{Error, Key, MemoryStore, Method, SessionFields, Sharded, Store};

use super::{builder, key_in, map, program, store as table_of, store_on};
use crate::support::{sharded::Schemas, verbs::of_owner};

const TWO: &str = "version=1 a=0-9 b=10-19 origin=a";
/// A slot with sessions of the origin is retired.
const RETIRED: &str = "version=1 a=0-9 b=10-19 retired=30 origin=a";

/// Slots of the origin, of the other server, and of none.
const SLOTS: [u16; 4] = [0, 10, 30, 4_000];

/// Two servers, and sessions that the origin had before, with keys in all kinds of slots.
fn migrating(text: &str) -> (Sharded<MemoryStore>, [Key; 4]) {
    let origin = MemoryStore::new();
    let keys = SLOTS.map(|slot| {
        let key = key_in(slot);
        origin.insert(&key, Some("lobster"), None).unwrap();
        key
    });
    let servers = builder(text, [origin, MemoryStore::new()]);
    (servers.build().unwrap(), keys)
}

fn rotated_in_every_way(store: &dyn Store, key: &Key) -> Key {
    let rotated = store.rotate(key).unwrap();
    let login = store.rotate_with(&rotated, of_owner("crab")).unwrap();
    // As other stores that make their own keys do it.
    let new = store.new_key(Some(&login)).unwrap();
    store
        .rotate_to(&login, &new, SessionFields::default())
        .unwrap();
    for old in [key, &rotated, &login] {
        assert!(matches!(store.get(old), Err(Error::NotFound)));
    }
    new
}

#[test]
fn sessions_from_before_the_map_are_found_in_every_slot_and_stay_on_the_origin() {
    for text in [TWO, RETIRED] {
        let (store, keys) = migrating(text);
        store.set_share("a", 0).unwrap();
        let origin = store_on(&store, "a");
        for (slot, key) in SLOTS.into_iter().zip(&keys) {
            assert_eq!(store.get(key).unwrap().value, "lobster", "{slot}");
            store.set(key, "prawn", None).unwrap();
            store.touch(key, None).unwrap();
            store.renew(key, None).unwrap();
            store.set_owner(key, Some("crab")).unwrap();
            let edited = store.update(key, None, &mut |old| Some(format!("{} 2", old.unwrap())));
            assert_eq!(edited.unwrap().value, "prawn 2");
            // A rotation directly, and one after another that has given the session a slot of the origin.
            let new = store.new_key(Some(key)).unwrap();
            store
                .rotate_to(key, &new, SessionFields::default())
                .unwrap_or_else(|e| panic!("{text}, slot {slot}: {e}"));
            let last = rotated_in_every_way(&store, &new);
            assert_eq!(origin.get(&last).unwrap().value, "lobster");
            assert_eq!(store.owned("crab").unwrap().len(), 1);
            store.clear(&last).unwrap();
            assert!(matches!(origin.get(&last), Err(Error::NotFound)));
        }
        let (store, keys) = migrating(text);
        let origin = store_on(&store, "a");
        let last = keys.each_ref().map(|key| rotated_in_every_way(&store, key));
        assert!(last.iter().all(|key| origin.get(key).is_ok()));
        assert!(store.clear_owned("crab", None).unwrap() == 4);
    }
}

#[test]
fn new_sessions_are_created_on_the_origin_only_if_it_is_open() {
    for text in [TWO, RETIRED] {
        let (store, _) = migrating(text);
        let origin = store_on(&store, "a");
        let made: Vec<_> = (0..60)
            .map(|_| store.generate(Some("crab"), None).unwrap())
            .collect();
        let on_origin = made.iter().filter(|key| origin.get(key).is_ok()).count();
        assert!((5..=55).contains(&on_origin), "{on_origin}");
        assert!(
            made.iter()
                .all(|key| store.get(key).unwrap().value == "crab")
        );
        store.set_share("a", 0).unwrap();
        for _ in 0..20 {
            let key = store.generate(None, None).unwrap();
            assert_eq!(map(text).server_of(&key), Some("b"));
            assert!(matches!(origin.get(&key), Err(Error::NotFound)));
        }
    }
}

/// tower-sessions creates sessions with keys that it draws.
#[test]
fn a_session_is_created_with_a_drawn_key_on_each_open_server() {
    for text in [TWO, "version=1 a=5 origin=a"] {
        let store = Sharded::builder(map(text)).server("a", MemoryStore::new());
        let store = match text.contains("b=") {
            true => store.server("b", MemoryStore::new()),
            false => store,
        };
        let store = store.build().unwrap();
        for _ in 0..20 {
            let key = store.new_key(None).unwrap();
            let inserted = store.insert(&key, Some("lobster"), None);
            assert!(inserted.is_ok(), "{text}: {inserted:?}");
            assert_eq!(store.get(&key).unwrap().value, "lobster");
        }
    }
}

#[test]
fn a_key_that_the_origin_has_is_not_given_to_another_session() {
    let (store, keys) = migrating(TWO);
    let [_, in_b, ..] = &keys;
    let exists = store.insert(in_b, Some("crab"), None);
    assert!(matches!(exists, Err(Error::KeyExists)), "{exists:?}");
    let free = key_in(11);
    let many = store.insert_many(&[(&free, None, None), (in_b, Some("crab"), None)]);
    assert!(
        matches!(&many[..], [Ok(()), Err(Error::KeyExists)]),
        "{many:?}"
    );
    let moved = store.rotate_to(&free, in_b, SessionFields::default());
    assert!(matches!(moved, Err(Error::KeyExists)), "{moved:?}");
    assert_eq!(store.get(in_b).unwrap().value, "lobster");
    assert!(matches!(
        store_on(&store, "b").get(in_b),
        Err(Error::NotFound)
    ));
}

#[test]
fn a_session_of_the_origin_is_removed_in_every_slot() {
    let (store, keys) = migrating(TWO);
    let origin = store_on(&store, "a");
    for key in &keys {
        store.clear(key).unwrap();
        assert!(matches!(origin.get(key), Err(Error::NotFound)));
        store.clear(key).unwrap();
    }
}

#[test]
fn batches_find_sessions_on_both_servers() {
    for text in [TWO, RETIRED] {
        let (store, keys) = migrating(text);
        let new = key_in(12);
        store.insert(&new, Some("crab"), None).unwrap();
        let absent = key_in(13);
        let [a, b, c, d] = &keys;
        let all = [b, &new, &absent, a, d, c];
        let values = || {
            let got = store.get_many(&all).into_iter();
            got.map(|got| got.map_or_else(|e| format!("{e:?}"), |session| session.value))
                .collect::<Vec<_>>()
        };
        let expected = [
            "lobster", "crab", "NotFound", "lobster", "lobster", "lobster",
        ];
        assert_eq!(values(), expected);
        let sets = all.map(|key| (key, "prawn", None));
        let set: Vec<_> = store.set_many(&sets).iter().map(Result::is_ok).collect();
        assert_eq!(set, [true, true, false, true, true, true]);
        let touches = all.map(|key| (key, None));
        let touched: Vec<_> = store
            .touch_many(&touches)
            .iter()
            .map(Result::is_ok)
            .collect();
        assert_eq!(touched, set);
        assert!(store.clear_many(&all[..5]).iter().all(Result::is_ok));
        let mut expected = ["NotFound"; 6];
        expected[5] = "prawn";
        assert_eq!(values(), expected);
    }
}

#[test]
fn an_origin_is_removed_when_it_has_no_session_in_the_slots_of_others() {
    let (store, keys) = migrating(TWO);
    let without = Sharded::builder(map("version=2 a=0-9 b=10-19"));
    store.extend(without).unwrap();
    let found = keys.each_ref().map(|key| store.get(key).is_ok());
    assert_eq!(found, [true, false, false, false]);
    // It cannot be another one.
    let other = Sharded::builder(map("version=2 a=0-9 b=10-19 origin=b"));
    let (store, _) = migrating(TWO);
    assert!(matches!(store.extend(other), Err(Error::InvalidOption(_))));
}

#[test]
fn a_session_of_the_origin_is_looked_up_there_first_after_the_other_server_has_failed() {
    let Schemas([a, b, _]) = Schemas::new();
    let key = key_in(10);
    table_of(&a).insert(&key, Some("lobster"), None).unwrap();
    let store = program(TWO, [&a, &b]).unwrap();
    b.run("DROP TABLE session");
    for _ in 0..3 {
        assert_eq!(store.get(&key).unwrap().value, "lobster");
    }
    let asked = store_on(&store, "b").stats().calls.of(Method::Get);
    assert_eq!(asked, 1);
    // The session of a visitor can be removed, too.
    store.clear(&key).unwrap();
    assert!(!matches!(store.get(&key), Ok(_) | Err(Error::NotFound)));
}
