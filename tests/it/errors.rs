//! What errors say, and to whom.

use std::{
    error::Error as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use session_postgres::{Error, InvalidKey, Key, MemoryStore, PostgresStore, Store};
use throwaway_postgres::Server;
use tokio::runtime::Builder;

use crate::support::database::Schema;

#[test]
fn a_text_that_no_store_could_have_made_is_no_key() {
    let long = "x".repeat(41);
    for (text, fault) in [
        ("", InvalidKey::Empty),
        (long.as_str(), InvalidKey::TooLong(41)),
        ("two words", InvalidKey::InvalidByte(3)),
        ("trailing ", InvalidKey::InvalidByte(8)),
        ("nul\0", InvalidKey::InvalidByte(3)),
        ("tab\t", InvalidKey::InvalidByte(3)),
        ("é", InvalidKey::InvalidByte(0)),
        ("\u{7f}", InvalidKey::InvalidByte(0)),
    ] {
        assert_eq!(text.parse::<Key>().unwrap_err(), fault);
        assert_eq!(Key::try_from(text).unwrap_err(), fault);
        assert_eq!(Key::try_from(text.to_owned()).unwrap_err(), fault);
        let error = Error::from(fault);
        assert_eq!(error.source().unwrap().to_string(), fault.to_string());
    }
    assert!("x".repeat(40).parse::<Key>().is_ok());
}

#[test]
fn a_text_that_is_no_connection_string_is_said_so() {
    for (text, hint) in [
        ("host=localhost port=abc", "port"),
        ("host", "keyword=value"),
        ("nonsense=1", "keyword `nonsense` at character 1"),
        ("host='open", "quote"),
    ] {
        let error = PostgresStore::connect(text).unwrap_err();
        assert!(
            matches!(error, Error::InvalidOption(_)),
            "{text}: {error:?}"
        );
        assert!(error.to_string().contains(hint), "{text}: {error}");
    }
}

#[test]
fn a_server_that_refuses_is_quoted_at_once() {
    let server = Server::start().unwrap();
    let begun = Instant::now();
    let url = server
        .url()
        .replace("user=postgres", "user=nobody_of_this_name");
    let error = PostgresStore::connect(&url).unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "28000", "{error}");
    assert!(error.to_string().contains("nobody_of_this_name"), "{error}");
    server.stop().unwrap();
    let error = PostgresStore::connect(server.url()).unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    assert!(error.sqlstate().is_none());
    // Far less than the pool would go on trying.
    assert!(begun.elapsed().as_secs() < 25);
}

#[test]
fn an_error_of_another_backend_keeps_its_source_and_text() {
    let cause = "x".parse::<u8>().unwrap_err();
    let error = Error::other(cause.clone());
    assert_eq!(error.to_string(), cause.to_string());
    assert!(
        matches!(&error, Error::Other(e) if e.downcast_ref::<std::num::ParseIntError>() == Some(&cause))
    );
}

#[test]
fn what_may_cross_threads_does() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<PostgresStore>();
    crosses::<MemoryStore>();
    crosses::<Key>();
    crosses::<session_postgres::Session>();
    crosses::<Error>();
    crosses::<session_postgres::PostgresStoreBuilder>();
    crosses::<session_postgres::Pruner>();
    crosses::<session_postgres::PrunerStats>();
    crosses::<Box<dyn Store>>();
}

#[test]
fn the_servers_own_refusals_carry_their_sqlstate() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run("ALTER TABLE session ADD CHECK (session_data <> 'bad')");
    let error = store.generate(Some("bad"), None).unwrap_err();
    assert!(matches!(error, Error::Database(_)));
    assert_eq!(error.sqlstate().unwrap().code(), "23514");
    assert!(
        error.to_string().contains("violates check constraint"),
        "{error}"
    );
}

#[test]
fn a_call_that_blocks_is_refused_in_an_async_task_and_names_the_facade() {
    let schema = Schema::new();
    let key = schema.store().generate(Some("lobster"), None).unwrap();
    let stores = [
        schema.builder().from_pool(schema.pool(2)),
        schema.builder().from_client(schema.client()),
    ];
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    for store in &stores {
        let ran = AtomicBool::new(false);
        let results = runtime.block_on(async {
            [
                store.get(&key).map(drop),
                store.set(&key, "crab", None),
                store
                    .get_many(&[&key, &Key::generate().unwrap()])
                    .remove(0)
                    .map(drop),
                store.generate(None, None).map(drop),
                store
                    .update(&key, None, &mut |_| Some("crab".into()))
                    .map(drop),
                store.insert(&Key::generate().unwrap(), None, None),
                store.with_client(|_| ran.store(true, Ordering::SeqCst)),
            ]
        });
        for (call, result) in results.into_iter().enumerate() {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::AsyncContext), "{call}: {error:?}");
            assert!(error.to_string().contains("`Offload`"), "{error}");
        }
        assert!(!ran.into_inner());
        // The store is as good as before.
        assert_eq!(store.get(&key).unwrap().value, "lobster");
    }
    assert_eq!(schema.count("true"), 1);
}
