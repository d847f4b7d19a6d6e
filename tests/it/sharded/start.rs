//! The servers of a builder, and what it does if they are not those of the map.

use session_postgres::{Error, MemoryStore, Period, Sharded, Store};

use super::{builder, in_memory, key_in, map, own_servers::OwnServers};
use crate::support::wait_until;

fn invalid<T>(made: Result<T, Error>) -> String {
    match made {
        Err(Error::InvalidOption(why)) => why,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[test]
fn a_builder_needs_exactly_the_servers_of_its_map() {
    let of = || Sharded::builder(map("version=1 a=0-9 b=10-19"));
    let store = MemoryStore::new;
    let missing = of().server("a", store());
    assert!(invalid(missing.build()).contains("server b has no store"));
    let both = || of().server("a", store()).server("b", store());
    assert!(invalid(both().server("c", store()).build()).contains("no server c"));
    assert!(invalid(both().server("a", store()).build()).contains("server a has two stores"));
    assert!(invalid(both().share("c", 1).build()).contains("no server c"));
    let empty = Sharded::<MemoryStore>::builder(map("version=1"));
    assert!(invalid(empty.build()).contains("no servers"));

    let built = both().share("a", 0).share("a", 7).build().unwrap();
    let shares: Vec<_> = built.servers().iter().map(|server| server.share).collect();
    assert_eq!(shares, [7, 1]);
    assert!(
        built
            .servers()
            .iter()
            .all(|server| server.has_joined && server.is_available)
    );
    assert!(invalid(built.set_share("c", 1)).contains("no server c"));
}

#[test]
fn a_sharded_store_cannot_be_a_server() {
    let inner = in_memory::<1>("version=1 a=0-9");
    let outer = Sharded::builder(map("version=1 a=0-9")).server("a", inner);
    assert!(invalid(outer.build()).contains("cannot be a server of another one"));
}

#[test]
fn the_servers_have_one_default_period() {
    let stores = [Period::HOUR, Period::DAY].map(|period| {
        let store = MemoryStore::new();
        store.set_default_period(period);
        store
    });
    let store = builder("version=1 a=0-9 b=10-19", stores).build().unwrap();
    let periods = || {
        store
            .servers()
            .into_iter()
            .map(|server| server.store.default_period())
    };
    assert_eq!(periods().collect::<Vec<_>>(), [Period::HOUR; 2]);
    store.set_default_period(Period::MINUTE);
    assert_eq!(periods().collect::<Vec<_>>(), [Period::MINUTE; 2]);
    assert_eq!(store.default_period(), Period::MINUTE);
}

#[test]
fn a_server_that_is_down_at_the_start_is_asked_about_the_map_before_its_first_call() {
    let text = "version=1 a=0-9 b=10-19 c=20-29";
    let servers = OwnServers::lock();
    // Of these servers, `b` keeps another map than the program has.
    let other = "version=1 b=10-20";
    let key = key_in(20);
    let only = Sharded::builder(map(other)).server("b", servers.store("b"));
    only.build().unwrap().insert(&key, None, None).unwrap();
    let builders = [
        servers.blocking(text, 3),
        servers.blocking("version=1 b=0-9 c=10-29 a=30", 3),
    ];
    servers.stop("b");
    let [first, second] = builders;
    let store = first.build().unwrap();
    let joined: Vec<_> = store
        .servers()
        .iter()
        .map(|server| server.has_joined)
        .collect();
    assert_eq!(joined, [true, false, true]);
    let own = key_in(10);
    assert!(!matches!(
        store.store_of(&own),
        Ok(_) | Err(Error::NotFound)
    ));
    assert!(!matches!(store.get(&own), Err(Error::NotFound)));
    // The others keep the map, so a program with another one is refused.
    assert!(matches!(second.build(), Err(Error::ShardMap { .. })));
    for _ in 0..10 {
        assert_ne!(
            store.map().server_of(&store.generate(None, None).unwrap()),
            Some("b")
        );
    }

    servers.start_again("b");
    wait_until("the server refuses the map", || {
        matches!(store.get(&own), Err(Error::ShardMap { .. }))
    });
    let insert = store.insert(&own, None, None);
    assert!(matches!(insert, Err(Error::ShardMap { .. })), "{insert:?}");
    assert!(matches!(store.store_of(&own), Err(Error::ShardMap { .. })));
    for _ in 0..10 {
        assert_ne!(
            store.map().server_of(&store.generate(None, None).unwrap()),
            Some("b")
        );
    }
    let schema = &servers.schemas[1];
    schema.run("DELETE FROM session_shard_map");
    store.insert(&own, Some("lobster"), None).unwrap();
    assert_eq!(store.get(&own).unwrap().value, "lobster");
    assert!(store.servers()[1].has_joined);
    // With no server at all, there is no store.
    let program = Sharded::builder(map("version=1 b=10-19")).server("b", servers.store("b"));
    servers.stop("b");
    let none = program.build().unwrap_err();
    assert!(
        !matches!(none, Error::ShardMap { .. } | Error::InvalidOption(_)),
        "{none:?}"
    );
}
