//! Servers that restart, or stay down.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use session_postgres::{Error, Key, PostgresStore, Store};
use throwaway_postgres::Server;

use super::{kill_backends, named_pool};
use crate::support::{database::Schema, patiently, wait_until};

/// The whole story: every backend is killed and the server restarted, while 8 threads call.
#[test]
fn a_thousand_calls_from_8_threads_outlive_kills_and_a_restart() {
    // Else a crash may lose what was committed.
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
                                let key = a_life(store, counter, &first, unknown);
                                done.fetch_add(1, Ordering::Relaxed);
                                key
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            // More of the same while they are at it.
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

        // Nothing is lost, nothing is doubled.
        assert_eq!(kept.len(), 1000);
        for key in &kept {
            assert_eq!(store.get(key).unwrap().value, format!("final {key}"));
        }
        // An update whose outcome nothing proves has counted, or has not.
        let unknown = unknown.into_inner();
        let counted: usize = store.get(&counter).unwrap().value.parse().unwrap();
        assert!((1000 - unknown..=1000).contains(&counted), "{counted}");
        assert_eq!(schema.count("true"), 1001);
    }
}

/// One session through every verb. The outcome of a set, touch or clear may be unknown. It is the caller who
/// repeats these, because here that does no harm.
fn a_life(store: &PostgresStore, counter: &Key, first: &str, unknown: &AtomicUsize) -> Key {
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
        // The others have changed the counter since.
        Err(Error::Disconnected(_)) => drop(unknown.fetch_add(1, Ordering::Relaxed)),
        Err(error) => panic!("{error:?}"),
    }
    let gone = store.generate_many(&[(Some("gone"), None), (None, None)]);
    for key in gone.into_iter().map(Result::unwrap) {
        until_known(|| store.clear(&key));
    }
    key
}

/// Repeats a write until its outcome is known, which then is success.
fn until_known(mut write: impl FnMut() -> Result<(), Error>) {
    loop {
        match write() {
            Err(Error::Disconnected(_)) => {}
            outcome => return outcome.unwrap(),
        }
    }
}

#[test]
fn a_server_that_stays_away_is_an_error_in_time() {
    let server = Server::start().unwrap();
    let schema = Schema::on(server.url());
    let store = schema
        .builder()
        .timeout(Duration::from_millis(500))
        .from_pool(schema.pool(2));
    patiently(|| store.create_table());
    let key = patiently(|| store.generate(Some("lobster"), None));
    server.stop().unwrap();
    // The first calls may have sent something; then there is nothing to send it with.
    wait_until("the dead connections to be found out", || {
        match store.set(&key, "crab", None) {
            Err(Error::Disconnected(_)) => false,
            Err(Error::TimedOut { .. }) => true,
            other => panic!("{other:?}"),
        }
    });
    assert!(matches!(
        store.with_client(|_| ()),
        Err(Error::TimedOut { .. })
    ));
    // It comes back by itself.
    server.start_again().unwrap();
    assert_eq!(patiently(|| store.get(&key)).value, "lobster");
}
