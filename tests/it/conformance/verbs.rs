//! The rules of the other verbs for one session.

use session_postgres::{Error, Key, Period, Session, Store};

use super::{HOUR, ZERO, is_about, is_not_found, value};
use crate::support::key;

rules! {
    generating_with_default_zero_and_negative_expiry_succeeds
    clearing_works_also_twice_and_for_an_absent_key
    getting_a_cleared_key_is_not_found
    getting_an_unknown_key_is_not_found
    getting_an_unexpired_unset_session_is_not_set
    a_value_that_was_set_is_returned
    setting_an_absent_or_expired_session_is_not_found_and_creates_nothing
    touching_renews_and_keeps_the_value
    touching_an_unset_session_leaves_it_unset
    touching_an_absent_or_expired_session_is_not_found
    inserting_creates_a_session_with_the_given_key
    inserting_an_existing_key_is_refused_and_changes_nothing
    inserting_an_expired_or_cleared_key_works
    rotating_moves_value_and_period_to_a_new_key
    rotating_an_unset_session_leaves_it_unset
    rotating_an_absent_or_expired_session_is_not_found
}

fn generating_with_default_zero_and_negative_expiry_succeeds(store: &dyn Store) {
    for expiry in [None, ZERO, Some(Period::seconds(-3600))] {
        for value in [None, Some("lobster")] {
            store.generate(value, expiry).unwrap();
        }
    }
}

fn clearing_works_also_twice_and_for_an_absent_key(store: &dyn Store) {
    let key = store.generate(Some("lobster"), None).unwrap();
    store.clear(&key).unwrap();
    store.clear(&key).unwrap();
    store.clear(&Key::generate().unwrap()).unwrap();
}

fn getting_a_cleared_key_is_not_found(store: &dyn Store) {
    let key = store.generate(Some("lobster"), None).unwrap();
    store.clear(&key).unwrap();
    assert!(is_not_found(store.get(&key)));
}

fn getting_an_unknown_key_is_not_found(store: &dyn Store) {
    assert!(is_not_found(store.get(&key("garbage"))));
    assert!(is_not_found(store.get(&key(
        "'; DROP TABLE session; --".replace(' ', "+").as_str()
    ))));
    assert!(is_not_found(store.get(&Key::generate().unwrap())));
}

fn getting_an_unexpired_unset_session_is_not_set(store: &dyn Store) {
    let key = store.generate(None, None).unwrap();
    assert!(matches!(store.get(&key), Err(Error::NotSet)));
}

fn a_value_that_was_set_is_returned(store: &dyn Store) {
    let key = store.generate(None, None).unwrap();
    for (text, expiry) in [("lobster", None), ("crab", HOUR)] {
        store.set(&key, text, expiry).unwrap();
        assert_eq!(value(store, &key), text);
    }
}

fn setting_an_absent_or_expired_session_is_not_found_and_creates_nothing(store: &dyn Store) {
    let expired = store.generate(Some("lobster"), ZERO).unwrap();
    for key in [Key::generate().unwrap(), expired] {
        assert!(is_not_found(store.set(&key, "crab", None)));
        assert!(is_not_found(store.get(&key)));
    }
}

fn touching_renews_and_keeps_the_value(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    store.touch(&key, Some(Period::DAY)).unwrap();
    let Session { value, period, .. } = store.get(&key).unwrap();
    assert_eq!(value, "lobster");
    assert!(is_about(period, Period::DAY));
    store.touch(&key, None).unwrap();
    assert!(is_about(store.get(&key).unwrap().period, Period::WEEK));
}

fn touching_an_unset_session_leaves_it_unset(store: &dyn Store) {
    let key = store.generate(None, HOUR).unwrap();
    store.touch(&key, None).unwrap();
    assert!(matches!(store.get(&key), Err(Error::NotSet)));
}

fn touching_an_absent_or_expired_session_is_not_found(store: &dyn Store) {
    assert!(is_not_found(store.touch(&Key::generate().unwrap(), None)));
    let key = store.generate(Some("lobster"), ZERO).unwrap();
    assert!(is_not_found(store.touch(&key, None)));
    assert!(is_not_found(store.get(&key)));
}

fn inserting_creates_a_session_with_the_given_key(store: &dyn Store) {
    let key = Key::generate().unwrap();
    store.insert(&key, Some("lobster"), HOUR).unwrap();
    let session = store.get(&key).unwrap();
    assert_eq!(session.value, "lobster");
    assert!(is_about(session.period, Period::HOUR));

    let unset = Key::generate().unwrap();
    store.insert(&unset, None, None).unwrap();
    assert!(matches!(store.get(&unset), Err(Error::NotSet)));
}

fn inserting_an_existing_key_is_refused_and_changes_nothing(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    assert!(matches!(
        store.insert(&key, Some("crab"), None),
        Err(Error::KeyExists)
    ));
    let session = store.get(&key).unwrap();
    assert_eq!(session.value, "lobster");
    assert!(is_about(session.period, Period::HOUR));
}

fn inserting_an_expired_or_cleared_key_works(store: &dyn Store) {
    let key = store.generate(Some("lobster"), ZERO).unwrap();
    store.insert(&key, Some("crab"), None).unwrap();
    assert_eq!(value(store, &key), "crab");
    store.clear(&key).unwrap();
    store.insert(&key, Some("shrimp"), ZERO).unwrap();
    assert!(is_not_found(store.get(&key)));
    store.insert(&key, Some("prawn"), None).unwrap();
    assert_eq!(value(store, &key), "prawn");
}

fn rotating_moves_value_and_period_to_a_new_key(store: &dyn Store) {
    let old = store.generate(Some("lobster"), HOUR).unwrap();
    let new = store.rotate(&old).unwrap();
    assert_ne!(old, new);
    assert!(is_not_found(store.get(&old)));
    let session = store.get(&new).unwrap();
    assert_eq!(session.value, "lobster");
    assert!(is_about(session.period, Period::HOUR));
}

fn rotating_an_unset_session_leaves_it_unset(store: &dyn Store) {
    let new = store.rotate(&store.generate(None, None).unwrap()).unwrap();
    assert!(matches!(store.get(&new), Err(Error::NotSet)));
}

fn rotating_an_absent_or_expired_session_is_not_found(store: &dyn Store) {
    assert!(is_not_found(store.rotate(&Key::generate().unwrap())));
    let key = store.generate(Some("lobster"), ZERO).unwrap();
    assert!(is_not_found(store.rotate(&key)));
}
