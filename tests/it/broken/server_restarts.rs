//! Servers that restart or are down.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use session_postgres::{Error, Key, PostgresStore, SessionFields, Store};
use throwaway_postgres::Server;

use super::{kill_backends, named_pool};
use crate::support::{database::Schema, patiently, wait_until};

#[test]
fn calls_from_8_threads_survive_killed_connections_and_restarts() {
    // Otherwise a crash may lose committed transactions.
    let server = Server::builder()
        .setting("synchronous_commit", "on")
        .start()
        .unwrap();
    for legacy in [false, true] {
        let schema = Schema::on(server.url());
        schema.create_table(legacy);
        let store = schema.builder().from_pool(named_pool(&schema, 8));
        let counter = store.generate(Some("0"), None).unwrap();

        kill_backends(&schema);
        server.restart().unwrap();
        let (done, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let kept: Vec<Key> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let (store, counter) = (&store, &counter);
                    let (done, unknown) = (&done, &unknown);
                    scope.spawn(move || {
                        (0..125)
                            .map(|i| {
                                let first = format!("{thread}.{i}");
                                let key = call_every_verb(store, counter, &first, unknown);
                                done.fetch_add(1, Ordering::Relaxed);
                                key
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            // The same again, while calls are running.
            wait_until("some calls", || done.load(Ordering::Relaxed) > 200);
            kill_backends(&schema);
            wait_until("more calls", || done.load(Ordering::Relaxed) > 400);
            server.restart().unwrap();
            wait_until("more calls", || done.load(Ordering::Relaxed) > 600);
            server.kill().unwrap();
            server.start_again().unwrap();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });

        // No session is lost or duplicated.
        assert_eq!(kept.len(), 1000);
        for key in &kept {
            assert_eq!(store.get(key).unwrap().value, format!("final {key}"));
        }
        // An update with an unknown outcome was counted or not.
        let unknown = unknown.into_inner();
        let counted: usize = store.get(&counter).unwrap().value.parse().unwrap();
        assert!((1000 - unknown..=1000).contains(&counted), "{counted}");
        assert_eq!(schema.count("true"), 1001);
    }
}

/// Calls every verb. Returns the key of a session whose value is `final` and the key.
///
/// A set, touch or clear with an unknown outcome is repeated, because here that is harmless.
fn call_every_verb(
    store: &PostgresStore,
    counter: &Key,
    first: &str,
    unknown: &AtomicUsize,
) -> Key {
    let key = store.generate(Some(first), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, first);
    until_known(|| store.touch(&key, None));
    let key = store.rotate(&key).unwrap();
    let value = format!("final {key}");
    until_known(|| store.set(&key, &value, None));
    let counted = store.update(counter, None, &mut |count| {
        Some((count.unwrap().parse::<u32>().unwrap() + 1).to_string())
    });
    match counted {
        Ok(_) => {}
        // Other threads change the counter, so the outcome cannot be read from it.
        Err(Error::Disconnected(_)) => drop(unknown.fetch_add(1, Ordering::Relaxed)),
        Err(error) => panic!("{error:?}"),
    }
    let gone = store.generate_many(&[
        SessionFields::new(Some("gone"), None),
        SessionFields::new(None, None),
    ]);
    for key in gone.into_iter().map(Result::unwrap) {
        until_known(|| store.clear(&key));
    }
    key
}

/// Repeats a write until its outcome is known. Panics if it failed.
fn until_known(mut write: impl FnMut() -> Result<(), Error>) {
    loop {
        match write() {
            Err(Error::Disconnected(_)) => {}
            outcome => return outcome.unwrap(),
        }
    }
}

#[test]
fn calls_time_out_while_the_server_is_down_and_succeed_when_it_is_back() {
    let server = Server::start().unwrap();
    let schema = Schema::on(server.url());
    let store = schema
        .builder()
        .timeout(Duration::from_millis(500))
        .from_pool(schema.pool(2));
    patiently(|| store.create_table());
    let key = patiently(|| store.generate(Some("lobster"), None));
    server.stop().unwrap();
    // The first calls may still find connections to send their statements on.
    wait_until(
        "the store to notice its broken connections",
        || match store.set(&key, "crab", None) {
            Err(Error::Disconnected(_)) => false,
            Err(Error::TimedOut { .. }) => true,
            other => panic!("{other:?}"),
        },
    );
    assert!(matches!(
        store.with_client(|_| ()),
        Err(Error::TimedOut { .. })
    ));
    server.start_again().unwrap();
    assert_eq!(patiently(|| store.get(&key)).value, "lobster");
}
