//! When sessions expire.

use session_postgres::{DEFAULT_PERIOD, Error, Key, MAX_PERIOD, MIN_PERIOD, Period, Store};

use super::{HOUR, ZERO, is_about, is_not_found, value};
use crate::support::wait_until;

rules! {
    getting_an_expired_session_is_not_found
    a_session_expires_even_if_it_is_read
    the_remaining_period_is_at_most_the_given_one_and_shrinks
    an_expiry_of_zero_or_less_ends_a_session_at_once
    the_default_period_is_a_week
    a_changed_default_period_applies_from_the_next_call
    setting_without_an_expiry_uses_the_default
    periods_up_to_the_bounds_work
    periods_beyond_the_bounds_are_refused_and_change_nothing
}

fn getting_an_expired_session_is_not_found(store: &dyn Store) {
    for value in [None, Some("lobster")] {
        for expiry in [
            ZERO,
            Some(Period::milliseconds(-1)),
            Some(Period::seconds(-3600)),
        ] {
            let key = store.generate(value, expiry).unwrap();
            assert!(is_not_found(store.get(&key)), "{expiry:?}");
            assert!(is_not_found(store.get(&key)), "{expiry:?}, read again");
        }
    }
}

fn a_session_expires_even_if_it_is_read(store: &dyn Store) {
    let key = store
        .generate(Some("lobster"), Some(Period::milliseconds(50)))
        .unwrap();
    wait_until("the session to expire", || is_not_found(store.get(&key)));
    assert!(is_not_found(store.set(&key, "crab", None)));
}

fn the_remaining_period_is_at_most_the_given_one_and_shrinks(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let first = store.get(&key).unwrap().period;
    assert!(is_about(first, Period::HOUR), "{first}");
    wait_until("time to pass", || store.get(&key).unwrap().period < first);
}

fn an_expiry_of_zero_or_less_ends_a_session_at_once(store: &dyn Store) {
    for expiry in [ZERO, Some(Period::milliseconds(-1)), Some(MIN_PERIOD)] {
        let key = store.generate(Some("lobster"), None).unwrap();
        store.touch(&key, expiry).unwrap();
        assert!(is_not_found(store.get(&key)));

        let key = store.generate(Some("lobster"), None).unwrap();
        store.set(&key, "crab", expiry).unwrap();
        assert!(is_not_found(store.get(&key)));
    }
}

fn the_default_period_is_a_week(store: &dyn Store) {
    assert_eq!(store.default_period(), Period::WEEK);
    assert_eq!(DEFAULT_PERIOD, Period::WEEK);
    let key = store.generate(Some("lobster"), None).unwrap();
    assert!(is_about(store.get(&key).unwrap().period, Period::WEEK));
}

fn a_changed_default_period_applies_from_the_next_call(store: &dyn Store) {
    store.set_default_period(Period::DAY);
    assert_eq!(store.default_period(), Period::DAY);
    let key = store.generate(Some("lobster"), None).unwrap();
    assert!(is_about(store.get(&key).unwrap().period, Period::DAY));

    store.set_default_period(Period::MAX);
    let refused = store.set(&key, "crab", None);
    assert!(matches!(refused, Err(Error::PeriodOutOfRange { period }) if period == Period::MAX));
    assert_eq!(value(store, &key), "lobster");
}

fn setting_without_an_expiry_uses_the_default(store: &dyn Store) {
    let key = store.generate(None, HOUR).unwrap();
    store.set(&key, "lobster", None).unwrap();
    assert!(is_about(store.get(&key).unwrap().period, Period::WEEK));
}

fn periods_up_to_the_bounds_work(store: &dyn Store) {
    let key = store.generate(Some("lobster"), Some(MAX_PERIOD)).unwrap();
    assert!(is_about(store.get(&key).unwrap().period, MAX_PERIOD));
    store.touch(&key, Some(MAX_PERIOD)).unwrap();
    store.touch(&key, Some(MIN_PERIOD)).unwrap();
    assert!(is_not_found(store.get(&key)));
}

fn periods_beyond_the_bounds_are_refused_and_change_nothing(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let other = Key::generate().unwrap();
    let nano = Period::nanoseconds(1);
    for period in [
        MAX_PERIOD + nano,
        Period::MAX,
        MIN_PERIOD - nano,
        Period::MIN,
    ] {
        let expiry = Some(period);
        let refused = |result: Result<(), Error>| matches!(result, Err(Error::PeriodOutOfRange { period: p }) if p == period);
        assert!(refused(store.generate(None, expiry).map(drop)));
        assert!(refused(store.set(&key, "crab", expiry)));
        assert!(refused(store.touch(&key, expiry)));
        assert!(refused(store.insert(&other, None, expiry)));
    }
    let session = store.get(&key).unwrap();
    assert_eq!(session.value, "lobster");
    assert!(is_about(session.period, Period::HOUR));
    assert!(is_not_found(store.get(&other)));
}
