//! The map that the servers keep.

use std::{sync::Barrier, thread};

use session_postgres::{Error, PostgresStore, Sharded, Store};
use tokio::runtime::Runtime;

use super::{async_program, builder, map, program, refusal, store, store_on};
use crate::support::{
    database::Schema,
    role::Role,
    sharded::{MAP, Schemas},
};

const SHARD_MAP: &str = include_str!("../../../sql/shard-map.sql");
const GRANT: &str = include_str!("../../../sql/grant.sql");

/// The maps and names that the servers keep for the sessions table.
fn kept(schemas: &[Schema]) -> Vec<(String, String)> {
    let ask = |schema: &Schema| {
        let sql = "SELECT server, map FROM session_shard_map WHERE session_table = 'session'";
        let row = schema.client().query_one(sql, &[]).unwrap();
        (row.get(0), row.get(1))
    };
    schemas.iter().map(ask).collect()
}

#[test]
fn a_program_whose_map_differs_from_that_of_a_server_is_refused_and_told_the_difference() {
    let Schemas(schemas) = Schemas::new();
    let runtime = Runtime::new().unwrap();
    let second = "version=2 a=0-9 b=10-19 c=20-29";
    let running = program(second, &schemas).unwrap();
    // The servers may be named in any order.
    program("version=2 c=20-29 b=10-19 a=0-9", &schemas).unwrap();
    let [a, b, c] = &schemas;
    let swapped = [b, a, c];
    for (text, order, expected) in [
        (
            "version=2 a=0-9 b=10-21 c=22-29",
            [a, b, c],
            &[
                "slots 20-21",
                "server b in the program",
                "server c on the server",
            ][..],
        ),
        (
            "version=2 a=0-9 b=10-19 c=20-29 origin=a",
            [a, b, c],
            &["the origin is a in the program and not set on the server"],
        ),
        (
            "version=1 a=0-9 b=10-19 c=20-25",
            [a, b, c],
            &[
                "version 1",
                "the server has version 2",
                "slots 26-29 belong to no server",
            ],
        ),
        (
            "version=3 a=0-8 b=9-19 c=20-29",
            [a, b, c],
            &[
                "slots 9 ",
                "server b in the program",
                "server a on the server",
            ],
        ),
        (
            second,
            swapped,
            &["it is server ", "check the connection strings"],
        ),
    ] {
        let refused = [
            refusal(program(text, order)),
            refusal(async_program(&runtime, text, order)),
        ];
        for why in refused {
            for part in expected {
                assert!(why.contains(part), "{text}: {part:?} is not in {why:?}");
            }
        }
    }
    let expected = ["a", "b", "c"].map(|name| (name.to_owned(), second.to_owned()));
    assert_eq!(kept(&schemas)[..2], expected[..2]);
    // The refused programs have not changed anything for the one that runs.
    running.generate(None, None).unwrap();
    program(second, &schemas).unwrap();
}

#[test]
fn a_newer_map_replaces_an_older_one_on_all_servers() {
    let Schemas(schemas) = Schemas::new();
    for text in [
        "version=1 a=0-9 b=10-19 c=20-29",
        "version=2 a=0-9 b=10-19 c=20-29 retired=40-49",
        "version=8 a=0-9 b=10-19 c=20-29 retired=40-50",
    ] {
        program(text, &schemas).unwrap();
        let expected = ["a", "b", "c"].map(|name| (name.to_owned(), text.to_owned()));
        assert_eq!(kept(&schemas), expected);
    }
}

/// Starts programs at the same time, each with one of the maps. Returns their results.
fn start_together(
    schemas: &[Schema; 3],
    maps: &[&'static str],
    isolation: &str,
) -> Vec<(&'static str, Result<Sharded<PostgresStore>, Error>)> {
    let together = Barrier::new(maps.len());
    let start = |text: &'static str| {
        let stores = schemas.each_ref().map(|schema| {
            let mut config = schema.config();
            let options = format!(
                "{} -cdefault_transaction_isolation={isolation}",
                config.get_options().unwrap()
            );
            config.options(&options);
            let store = schema.builder().from_pool(schema.pool_to(config, 1));
            store.create_table().unwrap();
            store
        });
        together.wait();
        (text, builder(text, stores).build())
    };
    thread::scope(|scope| {
        let started: Vec<_> = maps
            .iter()
            .map(|text| scope.spawn(|| start(text)))
            .collect();
        let started = started.into_iter().map(|thread| thread.join().unwrap());
        started.collect()
    })
}

#[test]
fn programs_that_start_at_the_same_time_agree_on_a_map() {
    for isolation in ["read\\ committed", "repeatable\\ read", "serializable"] {
        let Schemas(schemas) = Schemas::new();
        for (_, started) in start_together(&schemas, &[MAP; 4], isolation) {
            started.unwrap();
        }
        let Schemas(schemas) = Schemas::new();
        let other = "version=1 a=0-1364 b=1365-2728 c=2729-4095";
        let started = start_together(&schemas, &[MAP, other, MAP, other], isolation);
        let accepted: Vec<_> = started
            .iter()
            .filter(|(_, started)| started.is_ok())
            .map(|(text, _)| *text)
            .collect();
        assert!(!(accepted.contains(&MAP) && accepted.contains(&other)));
        for (_, refused) in started.into_iter().filter(|(_, started)| started.is_err()) {
            let why = refusal(refused);
            assert!(
                why.contains("both have version 1, but slots 2729 belong"),
                "{why}"
            );
        }
    }
}

#[test]
fn the_map_is_kept_without_the_privilege_to_create_tables() {
    let Schemas(schemas) = Schemas::new();
    let [a, b, c] = &schemas;
    let text = "version=1 a=0-9 b=10-19";
    // Both servers may be one database.
    let roles = [a, b].map(|schema| {
        store(schema);
        let role = Role::new(schema);
        role.grant(GRANT);
        role
    });
    let start = || builder(text, roles.each_ref().map(Role::store)).build();
    let refused = start().unwrap_err();
    let advice =
        "the role may not create the table session_shard_map: create it with sql/shard-map.sql";
    assert!(refused.to_string().contains(advice), "{refused}");
    for (schema, role) in [a, b].into_iter().zip(&roles) {
        schema.run(SHARD_MAP);
        assert!(start().is_err());
        role.grant("GRANT SELECT, INSERT, UPDATE ON session_shard_map TO web");
    }
    let key = start().unwrap().generate(None, None).unwrap();
    // A newer map replaces it with these privileges, too.
    let newer = "version=2 a=0-9 b=10-19 c=20-29";
    let stores = [roles[0].store(), roles[1].store(), store(c)];
    let newer = builder(newer, stores).build().unwrap();
    newer.set(&key, "lobster", None).unwrap();
    assert!(
        kept(&schemas[..2])
            .iter()
            .all(|(_, map)| map.starts_with("version=2 "))
    );
    drop(newer);
}

#[test]
fn two_sessions_tables_of_a_schema_have_maps_of_their_own() {
    let Schemas([a, b, _]) = Schemas::new();
    program("version=1 a=0-9 b=10-19", [&a, &b]).unwrap();
    let others = [&b, &a].map(|schema| {
        let table = schema.builder().table("other \"one\"").unwrap();
        let store = table.from_pool(schema.pool(1));
        store.create_table().unwrap();
        store
    });
    // The same names, but for other servers, and other slots.
    let other = builder("version=5 a=100 b=200", others).build().unwrap();
    other.generate(None, None).unwrap();
    program("version=1 a=0-9 b=10-19", [&a, &b]).unwrap();
    assert_eq!(kept(&[a])[0].1, map("version=1 a=0-9 b=10-19").to_string());
}

#[test]
fn a_map_table_that_another_user_may_have_made_is_refused() {
    let Schemas([a, ..]) = Schemas::new();
    store(&a);
    let expected = "another user may have made it";
    let columns = "'session'::text AS session_table, 'a'::text AS server, ''::text AS map";
    a.run(&format!(
        "CREATE VIEW session_shard_map AS SELECT {columns}"
    ));
    let why = refusal(program("version=1 a=0-9", [&a]));
    assert!(why.contains(expected), "{why}");
    a.run("DROP VIEW session_shard_map");
    a.run(SHARD_MAP);
    let role = Role::new(&a);
    role.grant("ALTER TABLE session_shard_map OWNER TO web");
    let why = refusal(program("version=1 a=0-9", [&a]));
    assert!(why.contains(expected), "{why}");
    drop(role);
    program("version=1 a=0-9", [&a]).unwrap();
}

#[test]
fn a_store_that_is_not_one_of_the_servers_is_a_problem_of_its_table() {
    let Schemas([a, ..]) = Schemas::new();
    let sharded = program("version=1 a=0-4095", [&a]).unwrap();
    match store(&a).check() {
        Err(Error::UnfitTable { problems, .. }) => assert_eq!(
            problems,
            [
                "it belongs to server a of several: use it in a `Sharded` store, because sessions that this store creates \
                 would not be found there"
            ]
        ),
        other => panic!("{other:?}"),
    }
    store_on(&sharded, "a").check().unwrap();
}
