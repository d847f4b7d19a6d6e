//! Batches: the calls named `_many`.

use session_postgres::{Error, Key, Period, SessionFields, Store};

use super::{HOUR, ZERO, is_about, is_not_found, value};
use crate::support::key;

rules! {
    each_call_of_a_batch_gets_its_own_result_in_order
    an_invalid_call_does_not_affect_the_others_of_its_batch
    a_batch_may_have_two_calls_for_one_key
    an_empty_batch_has_no_results
    a_batch_of_ten_thousand_calls_works
}

fn each_call_of_a_batch_gets_its_own_result_in_order(store: &dyn Store) {
    let lobster = store.generate(Some("lobster"), HOUR).unwrap();
    let unset = store.generate(None, None).unwrap();
    let expired = store.generate(Some("crab"), ZERO).unwrap();
    let absent = Key::generate().unwrap();
    let short = key("s");
    store.insert(&short, Some("shrimp"), None).unwrap();
    let keys = [&short, &absent, &lobster, &expired, &unset];

    let found = store.get_many(&keys);
    assert_eq!(found[0].as_ref().unwrap().value, "shrimp");
    assert!(matches!(found[1], Err(Error::NotFound)));
    assert_eq!(found[2].as_ref().unwrap().value, "lobster");
    assert!(is_about(found[2].as_ref().unwrap().period, Period::HOUR));
    assert!(matches!(found[3], Err(Error::NotFound)));
    assert!(matches!(found[4], Err(Error::NotSet)));

    let done = [true, false, true, false, true];
    let as_expected = |results: Vec<Result<(), Error>>| {
        assert_eq!(results.len(), done.len());
        for (result, done) in results.into_iter().zip(done) {
            assert!(if done {
                result.is_ok()
            } else {
                is_not_found(result)
            });
        }
    };
    as_expected(store.touch_many(&keys.map(|key| (key, Some(Period::DAY)))));
    assert!(is_about(store.get(&lobster).unwrap().period, Period::DAY));
    assert!(matches!(store.get(&unset), Err(Error::NotSet)));

    let values = ["a", "b", "c", "d", "e"];
    let sets: Vec<_> = keys
        .iter()
        .zip(values)
        .map(|(key, value)| (*key, value, HOUR))
        .collect();
    as_expected(store.set_many(&sets));
    for ((key, value), done) in keys.iter().zip(values).zip(done) {
        match store.get(key) {
            Ok(session) => {
                assert!(done);
                assert_eq!(session.value, value);
                assert!(is_about(session.period, Period::HOUR));
            }
            Err(_) => assert!(!done),
        }
    }

    let inserts = keys.map(|key| (key, Some("new"), None));
    for (result, was_there) in store.insert_many(&inserts).into_iter().zip(done) {
        assert!(if was_there {
            matches!(result, Err(Error::KeyExists))
        } else {
            result.is_ok()
        });
    }
    assert_eq!(value(store, &absent), "new");
    assert_eq!(value(store, &expired), "new");
    assert_eq!(value(store, &lobster), "c");

    assert!(store.clear_many(&keys).iter().all(Result::is_ok));
    assert!(store.get_many(&keys).into_iter().all(is_not_found));

    let made = store.generate_many(&[
        SessionFields::new(Some("x"), HOUR),
        SessionFields::new(None, None),
        SessionFields::new(Some("y"), ZERO),
    ]);
    assert_eq!(value(store, made[0].as_ref().unwrap()), "x");
    assert!(is_about(
        store.get(made[0].as_ref().unwrap()).unwrap().period,
        Period::HOUR
    ));
    assert!(matches!(
        store.get(made[1].as_ref().unwrap()),
        Err(Error::NotSet)
    ));
    assert!(is_not_found(store.get(made[2].as_ref().unwrap())));
}

fn an_invalid_call_does_not_affect_the_others_of_its_batch(store: &dyn Store) {
    let keys: Vec<_> = (0..4)
        .map(|_| store.generate(Some("old"), None).unwrap())
        .collect();
    let results = store.set_many(&[
        (&keys[0], "new", None),
        (&keys[1], "n\0w", None),
        (&keys[2], "new", Some(Period::MAX)),
        (&keys[3], "new", None),
    ]);
    assert!(results[0].is_ok() && results[3].is_ok());
    assert!(matches!(results[1], Err(Error::InvalidValue(_))));
    assert!(matches!(results[2], Err(Error::PeriodOutOfRange { .. })));
    assert_eq!(
        [0, 1, 2, 3].map(|i| value(store, &keys[i])),
        ["new", "old", "old", "new"]
    );

    let made = store.generate_many(&[
        SessionFields::new(Some("\0"), None),
        SessionFields::new(Some("good"), None),
        SessionFields::new(None, Some(Period::MIN)),
    ]);
    assert!(matches!(made[0], Err(Error::InvalidValue(_))));
    assert_eq!(value(store, made[1].as_ref().unwrap()), "good");
    assert!(matches!(made[2], Err(Error::PeriodOutOfRange { .. })));

    let touched = store.touch_many(&[(&keys[0], Some(Period::MAX)), (&keys[1], HOUR)]);
    assert!(matches!(touched[0], Err(Error::PeriodOutOfRange { .. })) && touched[1].is_ok());

    let other = Key::generate().unwrap();
    let inserted = store.insert_many(&[(&other, Some("\0"), None), (&other, Some("good"), None)]);
    assert!(matches!(inserted[0], Err(Error::InvalidValue(_))) && inserted[1].is_ok());
    assert_eq!(value(store, &other), "good");
}

fn a_batch_may_have_two_calls_for_one_key(store: &dyn Store) {
    let a = store.generate(Some("old"), None).unwrap();
    let b = store.generate(Some("old"), None).unwrap();

    let found = store.get_many(&[&a, &b, &a]);
    assert!(
        found
            .iter()
            .all(|found| found.as_ref().unwrap().value == "old")
    );

    let set = store.set_many(&[(&a, "1", None), (&b, "2", None), (&a, "3", None)]);
    assert!(set.iter().all(Result::is_ok));
    assert!(["1", "3"].contains(&value(store, &a).as_str()));
    assert_eq!(value(store, &b), "2");

    // The first call ends the session. The second does not find it, or was executed before the first.
    let ended = store.set_many(&[(&a, "4", ZERO), (&a, "5", None)]);
    match (&ended[0], &ended[1]) {
        (Ok(()), Err(Error::NotFound)) | (Ok(()), Ok(())) => assert!(is_not_found(store.get(&a))),
        other => panic!("no order gives {other:?}"),
    }

    let touched = store.touch_many(&[(&b, HOUR), (&b, HOUR)]);
    assert!(touched.iter().all(Result::is_ok));

    let c = Key::generate().unwrap();
    let inserted = store.insert_many(&[(&c, Some("x"), None), (&c, Some("y"), None)]);
    let first = inserted.iter().filter(|result| result.is_ok()).count();
    assert_eq!(first, 1);
    let winner = if inserted[0].is_ok() { "x" } else { "y" };
    assert_eq!(value(store, &c), winner);

    assert!(store.clear_many(&[&b, &b]).iter().all(Result::is_ok));
    assert!(is_not_found(store.get(&b)));
}

fn an_empty_batch_has_no_results(store: &dyn Store) {
    assert!(store.get_many(&[]).is_empty());
    assert!(store.clear_many(&[]).is_empty());
    assert!(store.generate_many(&[]).is_empty());
    assert!(store.set_many(&[]).is_empty());
    assert!(store.touch_many(&[]).is_empty());
    assert!(store.insert_many(&[]).is_empty());
}

fn a_batch_of_ten_thousand_calls_works(store: &dyn Store) {
    let values: Vec<_> = (0..10_000).map(|i| i.to_string()).collect();
    let calls: Vec<_> = values
        .iter()
        .map(|value| SessionFields::new(Some(value.as_str()), None))
        .collect();
    let keys: Vec<_> = store
        .generate_many(&calls)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let keys: Vec<_> = keys.iter().collect();
    for (found, value) in store.get_many(&keys).into_iter().zip(&values) {
        assert_eq!(&found.unwrap().value, value);
    }
    let sets: Vec<_> = keys
        .iter()
        .zip(values.iter().rev())
        .map(|(k, v)| (*k, v.as_str(), None))
        .collect();
    assert!(store.set_many(&sets).iter().all(Result::is_ok));
    for (found, value) in store.get_many(&keys).into_iter().zip(values.iter().rev()) {
        assert_eq!(&found.unwrap().value, value);
    }
    assert!(store.clear_many(&keys).iter().all(Result::is_ok));
    assert!(store.get_many(&keys).into_iter().all(is_not_found));
}
