//! The rules of `rotate_with` and `rotate_to`. Those of `rotate` are in `verbs`.

use session_postgres::{Error, Key, Period, SessionFields, Store};

use super::{HOUR, ZERO, beside, is_about, is_not_found, value};

rules! {
    rotating_with_a_value_replaces_it_and_keeps_the_period
    rotating_with_an_expiry_restarts_the_period_and_keeps_the_value
    rotating_with_a_value_and_an_expiry_changes_both
    rotating_with_nothing_is_a_rotation
    rotating_with_a_value_sets_an_unset_session
    rotating_with_an_expiry_of_zero_ends_the_session
    rotating_with_an_invalid_field_is_refused_and_changes_nothing
    rotating_an_absent_or_expired_session_with_fields_is_not_found_and_creates_nothing
    rotating_to_a_key_moves_the_session_there
    rotating_to_a_key_changes_the_given_fields
    rotating_to_the_key_of_a_session_is_refused_and_changes_neither
    rotating_to_its_own_key_is_refused_and_changes_nothing
    rotating_to_the_key_of_an_expired_or_cleared_session_works
    rotating_an_absent_session_to_a_key_is_not_found_and_creates_nothing
}

const DAY: Option<Period> = Some(Period::DAY);

/// Whether the session has this value and about this remaining time.
fn is_session(store: &dyn Store, key: &Key, value: &str, period: Period) -> bool {
    let session = store.get(key).unwrap();
    session.value == value && is_about(session.period, period)
}

fn rotating_with_a_value_replaces_it_and_keeps_the_period(store: &dyn Store) {
    let old = store.generate(Some("lobster"), HOUR).unwrap();
    let new = store.rotate_with(&old, SessionFields::new(Some("crab"), None));
    let new = new.unwrap();
    assert_ne!(old, new);
    assert!(is_not_found(store.get(&old)));
    assert!(is_session(store, &new, "crab", Period::HOUR));
}

fn rotating_with_an_expiry_restarts_the_period_and_keeps_the_value(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let key = store.rotate_with(&key, SessionFields::new(None, DAY));
    let key = key.unwrap();
    assert!(is_session(store, &key, "lobster", Period::DAY));
    // It shortens the period, too.
    let key = store.rotate_with(&key, SessionFields::new(None, HOUR));
    assert!(is_session(store, &key.unwrap(), "lobster", Period::HOUR));
}

fn rotating_with_a_value_and_an_expiry_changes_both(store: &dyn Store) {
    let old = store.generate(Some("lobster"), HOUR).unwrap();
    let new = store.rotate_with(&old, SessionFields::new(Some(""), DAY));
    assert!(is_session(store, &new.unwrap(), "", Period::DAY));
    assert!(is_not_found(store.get(&old)));
}

fn rotating_with_nothing_is_a_rotation(store: &dyn Store) {
    let old = store.generate(Some("lobster"), HOUR).unwrap();
    let new = store.rotate_with(&old, SessionFields::default()).unwrap();
    assert!(is_not_found(store.get(&old)));
    assert!(is_session(store, &new, "lobster", Period::HOUR));
}

fn rotating_with_a_value_sets_an_unset_session(store: &dyn Store) {
    let key = store.generate(None, HOUR).unwrap();
    let key = store.rotate_with(&key, SessionFields::new(None, DAY));
    let key = key.unwrap();
    assert!(matches!(store.get(&key), Err(Error::NotSet)));
    let key = store.rotate_with(&key, SessionFields::new(Some("lobster"), None));
    assert!(is_session(store, &key.unwrap(), "lobster", Period::DAY));
}

fn rotating_with_an_expiry_of_zero_ends_the_session(store: &dyn Store) {
    for expiry in [ZERO, Some(Period::milliseconds(-1))] {
        let old = store.generate(Some("lobster"), None).unwrap();
        let new = store.rotate_with(&old, SessionFields::new(None, expiry));
        assert!(is_not_found(store.get(&old)));
        assert!(is_not_found(store.get(&new.unwrap())));
    }
}

fn rotating_with_an_invalid_field_is_refused_and_changes_nothing(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let nul = SessionFields::new(Some("\0"), DAY);
    let endless = SessionFields::new(Some("crab"), Some(Period::MAX));
    let other = beside(store, &key);
    for result in [
        store.rotate_with(&key, nul).map(drop),
        store.rotate_to(&key, &other, nul),
    ] {
        assert!(matches!(result, Err(Error::InvalidValue(_))));
    }
    for result in [
        store.rotate_with(&key, endless).map(drop),
        store.rotate_to(&key, &other, endless),
    ] {
        assert!(matches!(result, Err(Error::PeriodOutOfRange { .. })));
    }
    assert!(is_session(store, &key, "lobster", Period::HOUR));
    assert!(is_not_found(store.get(&other)));
    // The default period is not used, so it does not matter.
    store.set_default_period(Period::MAX);
    assert!(store.rotate(&key).is_ok());
}

fn rotating_an_absent_or_expired_session_with_fields_is_not_found_and_creates_nothing(
    store: &dyn Store,
) {
    let expired = store.generate(Some("lobster"), ZERO).unwrap();
    for key in [Key::generate().unwrap(), expired] {
        let fields = SessionFields::new(Some("crab"), DAY);
        assert!(is_not_found(store.rotate_with(&key, fields)));
        assert!(is_not_found(store.get(&key)));
    }
    let moved = store.generate(Some("lobster"), None).unwrap();
    store.rotate(&moved).unwrap();
    let fields = SessionFields::new(Some("crab"), DAY);
    assert!(is_not_found(store.rotate_with(&moved, fields)));
}

fn rotating_to_a_key_moves_the_session_there(store: &dyn Store) {
    let old = store.generate(Some("lobster"), HOUR).unwrap();
    let new = beside(store, &old);
    let nothing = SessionFields::default();
    store.rotate_to(&old, &new, nothing).unwrap();
    assert!(is_not_found(store.get(&old)));
    assert!(is_session(store, &new, "lobster", Period::HOUR));
    // And back.
    store.rotate_to(&new, &old, nothing).unwrap();
    assert!(is_not_found(store.get(&new)));
    assert!(is_session(store, &old, "lobster", Period::HOUR));
}

fn rotating_to_a_key_changes_the_given_fields(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let [a, b, c] = [(); 3].map(|()| beside(store, &key));
    let fields = SessionFields::new(Some("crab"), None);
    store.rotate_to(&key, &a, fields).unwrap();
    assert!(is_session(store, &a, "crab", Period::HOUR));
    let fields = SessionFields::new(None, DAY);
    store.rotate_to(&a, &b, fields).unwrap();
    assert!(is_session(store, &b, "crab", Period::DAY));
    let fields = SessionFields::new(Some("shrimp"), ZERO);
    store.rotate_to(&b, &c, fields).unwrap();
    assert!([a, b, c].iter().all(|key| is_not_found(store.get(key))));
}

fn rotating_to_the_key_of_a_session_is_refused_and_changes_neither(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    for taken in [Some("crab"), None] {
        let other = beside(store, &key);
        store.insert(&other, taken, DAY).unwrap();
        let fields = SessionFields::new(Some("shrimp"), None);
        let refused = store.rotate_to(&key, &other, fields);
        assert!(matches!(refused, Err(Error::KeyExists)));
        assert!(is_session(store, &key, "lobster", Period::HOUR));
        match taken {
            Some(value) => assert!(is_session(store, &other, value, Period::DAY)),
            None => assert!(matches!(store.get(&other), Err(Error::NotSet))),
        }
    }
}

fn rotating_to_its_own_key_is_refused_and_changes_nothing(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let refused = store.rotate_to(&key, &key, SessionFields::new(Some("crab"), DAY));
    assert!(matches!(refused, Err(Error::KeyExists)));
    assert!(is_session(store, &key, "lobster", Period::HOUR));
}

fn rotating_to_the_key_of_an_expired_or_cleared_session_works(store: &dyn Store) {
    let mut key = store.generate(Some("lobster"), HOUR).unwrap();
    let [expired, cleared] = [(); 2].map(|()| beside(store, &key));
    store.insert(&expired, Some("over"), ZERO).unwrap();
    store.insert(&cleared, Some("over"), None).unwrap();
    store.clear(&cleared).unwrap();
    for new in [expired, cleared] {
        let nothing = SessionFields::default();
        store.rotate_to(&key, &new, nothing).unwrap();
        assert_eq!(value(store, &new), "lobster");
        assert!(is_not_found(store.get(&key)));
        key = new;
    }
}

fn rotating_an_absent_session_to_a_key_is_not_found_and_creates_nothing(store: &dyn Store) {
    let expired = store.generate(Some("lobster"), ZERO).unwrap();
    for key in [Key::generate().unwrap(), expired] {
        let new = beside(store, &key);
        let fields = SessionFields::new(Some("crab"), DAY);
        assert!(is_not_found(store.rotate_to(&key, &new, fields)));
        assert!(is_not_found(store.get(&new)));
        assert!(is_not_found(store.rotate_to(&key, &key, fields)));
        assert!(is_not_found(store.get(&key)));
    }
}
