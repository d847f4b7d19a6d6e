//! The rules of `update`.

use session_postgres::{Error, Key, Period, Store};

use super::{HOUR, ZERO, is_about, is_not_found, value};
use crate::support::wait_until;

rules! {
    updating_computes_the_new_value_from_the_old
    updating_an_unset_session_starts_from_none
    updating_to_none_leaves_the_session_unchanged
    updating_an_absent_or_expired_session_is_not_found
    updating_with_a_bad_value_or_period_changes_nothing
    a_panic_in_an_update_changes_nothing_and_blocks_no_later_call
    an_update_during_which_the_session_expires_is_not_found
}

fn updating_computes_the_new_value_from_the_old(store: &dyn Store) {
    let key = store.generate(Some("lobster"), None).unwrap();
    let session = store
        .update(&key, HOUR, &mut |value| {
            Some(format!("{} and crab", value.unwrap()))
        })
        .unwrap();
    assert_eq!(session.value, "lobster and crab");
    assert!(is_about(session.period, Period::HOUR));
    let session = store.get(&key).unwrap();
    assert_eq!(session.value, "lobster and crab");
    assert!(is_about(session.period, Period::HOUR));

    let ended = store
        .update(&key, ZERO, &mut |_| Some("over".into()))
        .unwrap();
    assert!(!ended.period.is_positive());
    assert!(is_not_found(store.get(&key)));
}

fn updating_an_unset_session_starts_from_none(store: &dyn Store) {
    let key = store.generate(None, None).unwrap();
    store
        .update(&key, None, &mut |value| {
            assert_eq!(value, None);
            Some("lobster".into())
        })
        .unwrap();
    assert_eq!(value(store, &key), "lobster");
}

fn updating_to_none_leaves_the_session_unchanged(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let session = store.update(&key, None, &mut |_| None).unwrap();
    assert_eq!(session.value, "lobster");
    assert!(is_about(session.period, Period::HOUR));
    assert!(is_about(store.get(&key).unwrap().period, Period::HOUR));

    let unset = store.generate(None, None).unwrap();
    assert!(matches!(
        store.update(&unset, None, &mut |_| None),
        Err(Error::NotSet)
    ));
}

fn updating_an_absent_or_expired_session_is_not_found(store: &dyn Store) {
    let expired = store.generate(Some("lobster"), ZERO).unwrap();
    for key in [Key::generate().unwrap(), expired] {
        let result = store.update(&key, None, &mut |_| panic!("there is no session to edit"));
        assert!(is_not_found(result));
        assert!(is_not_found(store.get(&key)));
    }
}

fn updating_with_a_bad_value_or_period_changes_nothing(store: &dyn Store) {
    let key = store.generate(Some("lobster"), None).unwrap();
    let result = store.update(&key, None, &mut |_| Some("\0".into()));
    assert!(matches!(result, Err(Error::InvalidValue(_))));
    let result = store.update(&key, Some(Period::MAX), &mut |_| Some("crab".into()));
    assert!(matches!(result, Err(Error::PeriodOutOfRange { .. })));
    assert_eq!(value(store, &key), "lobster");
}

fn a_panic_in_an_update_changes_nothing_and_blocks_no_later_call(store: &dyn Store) {
    let key = store.generate(Some("lobster"), None).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.update(&key, None, &mut |_| panic!("in the middle"))
    }));
    assert!(panicked.is_err());
    assert_eq!(value(store, &key), "lobster");
    store.set(&key, "crab", None).unwrap();
    store
        .update(&key, None, &mut |_| Some("shrimp".into()))
        .unwrap();
    assert_eq!(value(store, &key), "shrimp");
}

fn an_update_during_which_the_session_expires_is_not_found(store: &dyn Store) {
    let key = store
        .generate(Some("lobster"), Some(Period::milliseconds(300)))
        .unwrap();
    let begun = std::time::Instant::now();
    let result = store.update(&key, None, &mut |_| {
        wait_until("the session to expire", || {
            begun.elapsed().as_millis() > 400
        });
        Some("crab".into())
    });
    assert!(is_not_found(result));
    assert!(is_not_found(store.get(&key)));
}
