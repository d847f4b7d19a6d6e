//! Several calls for the same session in a batch.

use std::thread;

use session_postgres::{Error, Key, Period, Store};

use super::{counted, generated, statements};
use crate::support::{
    database::{Schema, lock},
    wait_until,
};

#[test]
fn calls_for_the_same_session_share_one_statement() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 2);
    let (proxy, store) = counted(&schema, "");
    let values: Vec<_> = (0..250).map(|i| i.to_string()).collect();
    let mut sets: Vec<_> = values
        .iter()
        .map(|v| (&keys[0], v.as_str(), None))
        .collect();
    sets.insert(100, (&keys[1], "other", None));
    assert!(store.set_many(&sets).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 1);
    assert_eq!(store.get(&keys[0]).unwrap().value, "249");
    assert_eq!(store.get(&keys[1]).unwrap().value, "other");

    statements(&proxy);
    let mut touches = vec![(&keys[0], None); 249];
    touches.push((&keys[0], Some(Period::MINUTE)));
    touches.push((&keys[1], None));
    assert!(store.touch_many(&touches).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 1);
    assert!(store.get(&keys[0]).unwrap().period < Period::minutes(2));
    assert!(store.get(&keys[1]).unwrap().period > Period::minutes(2));

    statements(&proxy);
    let new = Key::generate().unwrap();
    let inserted = store.insert_many(&vec![(&new, Some("first"), None); 250]);
    assert!(inserted[0].is_ok());
    let exists = |result: &Result<(), Error>| matches!(result, Err(Error::KeyExists));
    assert!(inserted[1..].iter().all(exists));
    assert_eq!(statements(&proxy), 1);

    statements(&proxy);
    assert!(store.clear_many(&[&keys[0]; 250]).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 1);
}

#[test]
fn reads_of_the_same_session_send_its_key_once() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 2);
    let (proxy, store) = counted(&schema, "");
    let mut both = vec![&keys[0]; 256];
    both.push(&keys[1]);
    for _ in 0..2 {
        proxy.bytes();
        for found in store.get_many(&both) {
            assert_eq!(found.unwrap().value, "old");
        }
    }
    // Two keys and the overhead of the protocol.
    assert!(proxy.bytes() < 10 * 40);
    assert_eq!(statements(&proxy), 2);
}

/// The results are the same as if the calls were executed one after another.
#[test]
fn calls_after_one_that_ends_the_session_find_no_session() {
    const END: Option<Period> = Some(Period::ZERO);
    let schema = Schema::new();
    let store = schema.store();
    let is_absent = |result: &Result<(), Error>| matches!(result, Err(Error::NotFound));
    let [a, b] = [(); 2].map(|()| store.generate(Some("old"), None).unwrap());
    let results = store.set_many(&[
        (&a, "first", None),
        (&b, "other", None),
        (&a, "over", END),
        (&a, "late", None),
        (&a, "later", None),
    ]);
    assert!(results[..3].iter().all(Result::is_ok), "{results:?}");
    assert!(results[3..].iter().all(is_absent), "{results:?}");
    assert!(matches!(store.get(&a), Err(Error::NotFound)));
    assert_eq!(store.get(&b).unwrap().value, "other");

    let results = store.touch_many(&[(&b, None), (&b, END), (&b, None)]);
    assert!(results[..2].iter().all(Result::is_ok), "{results:?}");
    assert!(is_absent(&results[2]), "{results:?}");
    assert!(matches!(store.get(&b), Err(Error::NotFound)));

    let new = Key::generate().unwrap();
    let results = store.insert_many(&[
        (&new, Some("over"), END),
        (&new, Some("over"), END),
        (&new, Some("first"), None),
        (&new, Some("late"), None),
    ]);
    assert!(results[..3].iter().all(Result::is_ok), "{results:?}");
    assert!(matches!(results[3], Err(Error::KeyExists)), "{results:?}");
    assert_eq!(store.get(&new).unwrap().value, "first");
}

#[test]
fn calls_for_the_same_locked_session_stay_in_order() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 1);
    let (proxy, store) = counted(&schema, "");
    let mut holder = schema.client();
    let pid: i32 = holder
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    let locked = lock(&mut holder, &keys[0]);
    let values: Vec<_> = (0..100).map(|i| i.to_string()).collect();
    let sets: Vec<_> = values
        .iter()
        .map(|value| (&keys[0], value.as_str(), None))
        .collect();
    let is_locked = |result: &Result<(), Error>| matches!(result, Err(Error::Locked));
    assert!(store.try_set_many(&sets).iter().all(is_locked));
    assert_eq!(statements(&proxy), 2);
    thread::scope(|scope| {
        let writer = scope.spawn(|| store.set_many(&sets));
        wait_until("the batch waits for the lock", || {
            let sql =
                "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
            schema
                .client()
                .query_one(sql, &[&pid])
                .unwrap()
                .get::<_, i64>(0)
                > 0
        });
        locked.rollback().unwrap();
        let results = writer.join().unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    });
    assert_eq!(store.get(&keys[0]).unwrap().value, "99");
}
