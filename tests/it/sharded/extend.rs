//! A newer map while a program runs: more servers, and fewer.

use session_postgres::{AsyncStore, Error, MemoryStore, Sharded, Store};
use tokio::runtime::Runtime;

use super::{in_memory, key_in, map, own_servers::OwnServers, refusal};
use crate::support::wait_until;

const OLD: &str = "version=1 a=0-9 b=10-19 c=20-29";
const NEW: &str = "version=2 a=0-9 b=10-19 c=20-29 d=30-39";

fn assert_invalid(result: Result<(), Error>, expected: &str) {
    match result {
        Err(Error::InvalidOption(why)) => assert!(why.contains(expected), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_is_added_and_then_used_while_another_one_is_down() {
    let servers = OwnServers::lock();
    let runtime = Runtime::new().unwrap();
    let blocking = servers.blocking(OLD, 3).build().unwrap();
    let facades = servers.tasks(OLD, 3);
    let on_b = key_in(10);
    blocking.insert(&on_b, Some("lobster"), None).unwrap();
    servers.stop("b");

    let newer = Sharded::builder(map(NEW)).server("d", servers.store("d"));
    blocking.extend(newer.share("d", 5)).unwrap();
    let is_on_d = |key| map(NEW).server_of(&key) == Some("d");
    let newer = Sharded::builder(map(NEW)).server("d", servers.facade("d"));
    let extended = facades.extend_async(newer);
    runtime.block_on(extended).unwrap();
    assert_eq!([blocking.map(), facades.map()], [map(NEW), map(NEW)]);
    // A key of the new server can be used at once.
    blocking.insert(&key_in(30), None, None).unwrap();
    wait_until("a new session on the new server", || {
        is_on_d(blocking.generate(None, None).unwrap())
    });
    wait_until("a new session on the new server", || {
        is_on_d(runtime.block_on(facades.generate(None, None)).unwrap())
    });
    let known = blocking.servers();
    assert_eq!(known[3].share, 5);
    assert!(!known[1].has_joined && known[3].has_joined);

    // The server that was down accepts the new map before its first call.
    assert!(!matches!(blocking.get(&on_b), Ok(_) | Err(Error::NotFound)));
    servers.start_again("b");
    wait_until("the server is used again", || blocking.get(&on_b).is_ok());
    assert!(blocking.servers()[1].has_joined);
    let why = refusal(servers.blocking(OLD, 3).build());
    assert!(why.contains("the server has version 2"), "{why}");
    let from_b = Sharded::builder(map("version=1 b=10-19")).server("b", servers.store("b"));
    assert!(refusal(from_b.build()).contains("the server has version 2"));
}

#[test]
fn a_newer_map_needs_the_servers_that_the_programs_with_the_older_one_ask() {
    let servers = OwnServers::lock();
    let [before, after] = ["version=1 b=10-19", "version=2 b=10-19 a=0-9 c=20-29"];
    let program = || Sharded::builder(map(before)).server("b", servers.store("b"));
    let [blocking, other] = [program().build().unwrap(), program().build().unwrap()];
    servers.stop("b");
    // Most servers of the newer map accept it, but none that another program asks.
    let newer = || {
        let newer = Sharded::builder(map(after)).server("a", servers.store("a"));
        newer.server("c", servers.store("c"))
    };
    blocking.extend(newer()).unwrap_err();
    assert_eq!(blocking.map(), map(before));
    servers.start_again("b");
    wait_until("the store is extended", || blocking.extend(newer()).is_ok());
    let session = key_in(0);
    blocking.insert(&session, None, None).unwrap();
    let outdated = other.get(&session);
    assert!(
        matches!(outdated, Err(Error::ShardMap { .. })),
        "{outdated:?}"
    );
}

#[test]
fn a_store_is_not_extended_if_the_map_or_the_servers_do_not_fit() {
    let store = in_memory::<2>("version=5 a=0-9 b=10-19");
    let key = store.generate(Some("lobster"), None).unwrap();
    let with = |text: &str| Sharded::builder(map(text));
    let c = MemoryStore::new;
    for (newer, expected) in [
        (with("version=4 a=0-9 b=10-19"), "version 4"),
        (
            with("version=5 a=0-9 b=10-19 c=20").server("c", c()),
            "both have version 5",
        ),
        (with("version=6 a=0-8 b=9-19"), "slots 9 "),
        (with("version=6 a=0-9"), "slots 10-19 "),
        (
            with("version=6 a=0-9 b=10-19 c=20"),
            "server c has no store",
        ),
        (
            with("version=6 a=0-9 b=10-19 c=20")
                .server("c", c())
                .server("a", c()),
            "server a has a store already",
        ),
        (
            with("version=6 a=0-9 b=10-19 c=20")
                .server("c", c())
                .server("d", c()),
            "the map has no server d",
        ),
        (
            with("version=6 a=0-9 b=10-19 c=20")
                .server("c", c())
                .share("d", 1),
            "the map has no server d",
        ),
    ] {
        assert_invalid(store.extend(newer), expected);
        assert_eq!(store.map(), map("version=5 a=0-9 b=10-19"));
        assert_eq!(store.get(&key).unwrap().value, "lobster");
    }
}

#[test]
fn a_server_is_retired_and_its_slots_stay_unused() {
    let store = in_memory::<3>("version=1 a=0-9 b=10-19 c=20-29");
    store.set_share("a", 3).unwrap();
    let keys = [0, 10, 20].map(|slot| {
        let key = key_in(slot);
        store.insert(&key, Some("lobster"), None).unwrap();
        key
    });
    store.set_share("b", 0).unwrap();
    let newer = store.map().retire("b").unwrap().with_version(2);
    store.extend(Sharded::builder(newer).share("c", 2)).unwrap();
    let servers: Vec<_> = store.servers();
    let shares: Vec<_> = servers
        .iter()
        .map(|server| (&*server.name, server.share))
        .collect();
    assert_eq!(shares, [("a", 3), ("c", 2)]);
    assert!(
        servers
            .iter()
            .all(|server| server.is_available && server.has_joined)
    );
    let found = keys.each_ref().map(|key| store.get(key).is_ok());
    assert_eq!(found, [true, false, true]);
    assert!(matches!(store.get(&keys[1]), Err(Error::NotFound)));
    assert!(matches!(store.store_of(&keys[1]), Err(Error::NotFound)));
    let inserted = store.insert(&keys[1], None, None);
    assert!(
        matches!(inserted, Err(Error::NotOpen { .. })),
        "{inserted:?}"
    );
    // Neither may another server get its slots.
    assert!(store.map().assign("c", 10..=10).is_err());
    assert!(store.map().assign("b", 10..=10).is_err());
    let reused = Sharded::builder(map("version=3 a=0-9 c=10-29"));
    assert_invalid(
        store.extend(reused),
        "slots 10-19 belong to server c in the program and to retired",
    );
    for _ in 0..50 {
        let key = store.generate(None, None).unwrap();
        assert_ne!(store.map().server_of(&key), Some("b"));
    }
}
