//! The rules of `find`.

use session_postgres::{Error, Key, Period, Store};

use super::{HOUR, ZERO, is_about};

rules! {
    finding_returns_the_session
    finding_an_absent_expired_or_cleared_session_returns_none
    finding_an_unset_session_is_not_set
}

fn finding_returns_the_session(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let session = store.find(&key).unwrap().unwrap();
    assert_eq!(session.value, "lobster");
    assert!(is_about(session.period, Period::HOUR));
}

fn finding_an_absent_expired_or_cleared_session_returns_none(store: &dyn Store) {
    let expired = store.generate(Some("lobster"), ZERO).unwrap();
    let cleared = store.generate(Some("lobster"), None).unwrap();
    store.clear(&cleared).unwrap();
    for key in [Key::generate().unwrap(), expired, cleared] {
        assert!(store.find(&key).unwrap().is_none());
    }
}

fn finding_an_unset_session_is_not_set(store: &dyn Store) {
    let key = store.generate(None, None).unwrap();
    assert!(matches!(store.find(&key), Err(Error::NotSet)));
}
