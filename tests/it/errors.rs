//! Errors: which one a call returns, and what it says.

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
fn an_invalid_key_is_refused_with_the_reason() {
    let long = "x".repeat(256);
    for (text, fault) in [
        ("", InvalidKey::Empty),
        (long.as_str(), InvalidKey::TooLong(256)),
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
    assert!("x".repeat(255).parse::<Key>().is_ok());
}

#[test]
fn an_invalid_connection_string_is_refused_with_the_reason() {
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
fn a_refused_connection_is_reported_at_once() {
    let server = Server::start().unwrap();
    let begun = Instant::now();
    let url = server.url().replace("user=postgres", "user=no_such_user");
    let error = PostgresStore::connect(&url).unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "28000", "{error}");
    assert!(error.to_string().contains("no_such_user"), "{error}");
    server.stop().unwrap();
    let error = PostgresStore::connect(server.url()).unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    assert!(error.sqlstate().is_none());
    // Much less than the pool would keep trying.
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
fn public_types_are_send_and_sync() {
    fn is_send_and_sync<T: Send + Sync + 'static>() {}
    is_send_and_sync::<PostgresStore>();
    is_send_and_sync::<MemoryStore>();
    is_send_and_sync::<Key>();
    is_send_and_sync::<session_postgres::Session>();
    is_send_and_sync::<Error>();
    is_send_and_sync::<session_postgres::PostgresStoreBuilder>();
    is_send_and_sync::<session_postgres::Pruner>();
    is_send_and_sync::<session_postgres::PrunerStats>();
    is_send_and_sync::<Box<dyn Store>>();
}

#[test]
fn errors_of_the_server_have_their_sqlstate() {
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
fn a_blocking_call_in_an_async_task_is_refused_with_a_hint_at_the_facade() {
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
        // The store still works.
        assert_eq!(store.get(&key).unwrap().value, "lobster");
    }
    assert_eq!(schema.count("true"), 1);
}
