//! Calls of many threads on one store.

pub(crate) mod checker;
mod deadlocks;
pub(crate) mod owners;
mod random_calls;

use std::{collections::HashSet, sync::Barrier, thread};

use session_postgres::{Error, Key, Period, SessionFields, Store};

use crate::support::database::Schema;

const THREADS: usize = 8;

/// Runs `work` in so many threads at the same time. Returns their results.
fn at_once<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    work(thread)
                })
            })
            .collect();
        let joined = running.into_iter().map(|thread| thread.join().unwrap());
        joined.collect()
    })
}

#[test]
fn exactly_one_of_many_concurrent_inserts_succeeds() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(schema.pool(THREADS as u32));
    store.create_table().unwrap();
    for round in 0..100 {
        let key = Key::generate().unwrap();
        let was_there = round % 2 == 1;
        if was_there {
            store
                .insert(&key, Some("over"), Some(Period::ZERO))
                .unwrap();
        }
        let results = at_once(THREADS, |thread| {
            store.insert(&key, Some(&thread.to_string()), None)
        });
        let winners: Vec<_> = (0..THREADS)
            .filter(|thread| results[*thread].is_ok())
            .collect();
        assert_eq!(winners.len(), 1, "expired: {was_there}; {results:?}");
        for result in results {
            assert!(
                matches!(result, Ok(()) | Err(Error::KeyExists)),
                "{result:?}"
            );
        }
        assert_eq!(store.get(&key).unwrap().value, winners[0].to_string());
    }
}

#[test]
fn no_update_of_many_threads_is_lost() {
    let schema = Schema::new();
    let store = schema.builder().from_pool(schema.pool(THREADS as u32));
    store.create_table().unwrap();
    let key = store.generate(None, None).unwrap();
    at_once(THREADS, |_| {
        for _ in 0..50 {
            let mut add_one = |count: Option<&str>| {
                let count: usize = count.map_or(0, |count| count.parse().unwrap());
                Some((count + 1).to_string())
            };
            store.update(&key, None, &mut add_one).unwrap();
        }
    });
    assert_eq!(store.get(&key).unwrap().value, (THREADS * 50).to_string());
}

#[test]
fn concurrent_calls_that_clear_an_owner_count_each_session_once() {
    const SESSIONS: u64 = 40;
    let schema = Schema::new();
    let store = schema.builder().from_pool(schema.pool(THREADS as u32));
    store.create_table().unwrap();
    for _ in 0..10 {
        let owner = SessionFields {
            owner: Some("ann"),
            ..SessionFields::default()
        };
        let made = store.generate_many(&[owner; SESSIONS as usize]);
        let handles: Vec<_> = made.into_iter().map(|key| key.unwrap().handle()).collect();
        let counts = at_once(THREADS, |thread| match thread % 2 {
            0 => store.clear_owned("ann", None).unwrap(),
            _ => {
                let clear = |handle| store.clear_handle("ann", handle).unwrap();
                let cleared = handles.iter().take(5).filter(|handle| clear(handle));
                cleared.count() as u64
            }
        });
        assert_eq!(counts.iter().sum::<u64>(), SESSIONS, "{counts:?}");
        assert!(store.owned("ann").unwrap().is_empty());
    }
}

#[test]
fn generated_keys_never_repeat() {
    const EACH: usize = 20_000;
    let keys = at_once(THREADS, |_| {
        let keys = (0..EACH).map(|_| Key::generate().unwrap());
        keys.collect::<Vec<_>>()
    });
    let distinct: HashSet<Key> = keys.into_iter().flatten().collect();
    assert_eq!(distinct.len(), THREADS * EACH);
}
