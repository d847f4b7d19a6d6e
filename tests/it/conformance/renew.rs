//! The rules of `renew` and `renew_many`.

use session_postgres::{Error, Key, MAX_PERIOD, MIN_PERIOD, Period, Session, SessionFields, Store};

use super::{HOUR, ZERO, is_about, is_not_found};

rules! {
    renewing_restarts_a_period_of_which_a_tenth_has_passed
    renewing_returns_the_value_and_the_remaining_time_as_get_does
    renewing_does_nothing_before_a_tenth_of_the_period_has_passed
    renewing_without_an_expiry_uses_the_default
    renewing_never_shortens_the_remaining_time
    renewing_an_absent_expired_or_cleared_session_is_not_found_and_creates_nothing
    renewing_an_unset_session_is_not_set_and_changes_nothing
    renewing_with_a_period_out_of_range_is_refused_and_changes_nothing
    each_renewal_of_a_batch_gets_its_own_result_in_order
    renewals_of_one_session_in_a_batch_get_the_longest_period
    an_empty_batch_of_renewals_has_no_results
}

const HALF: Option<Period> = Some(Period::minutes(30));
const DAY: Option<Period> = Some(Period::DAY);

fn left(store: &dyn Store, key: &Key) -> Period {
    store.get(key).unwrap().period
}

fn renewing_restarts_a_period_of_which_a_tenth_has_passed(store: &dyn Store) {
    for minutes in [1, 30, 53] {
        let before = Some(Period::minutes(minutes));
        let key = store.generate(Some("lobster"), before).unwrap();
        let session = store.renew(&key, HOUR).unwrap();
        assert!(is_about(session.period, Period::HOUR), "{session:?}");
        assert!(is_about(left(store, &key), Period::HOUR));
    }
}

fn renewing_returns_the_value_and_the_remaining_time_as_get_does(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    for expiry in [ZERO, HALF, HOUR, DAY, HOUR] {
        let renewed = store.renew(&key, expiry).unwrap();
        let read = store.get(&key).unwrap();
        assert_eq!(renewed.value, "lobster");
        assert!(is_about(read.period, renewed.period));
        assert_eq!(renewed.age.is_some(), read.age.is_some());
    }
    let empty = store.generate(Some(""), HALF).unwrap();
    assert_eq!(store.renew(&empty, HOUR).unwrap().value, "");
}

fn renewing_does_nothing_before_a_tenth_of_the_period_has_passed(store: &dyn Store) {
    let before = Period::minutes(57);
    let key = store.generate(Some("lobster"), Some(before)).unwrap();
    let session = store.renew(&key, HOUR).unwrap();
    assert!(is_about(session.period, before), "{session:?}");
    assert!(is_about(left(store, &key), before));
}

fn renewing_without_an_expiry_uses_the_default(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let session = store.renew(&key, None).unwrap();
    assert!(is_about(session.period, Period::WEEK));
    store.set_default_period(MAX_PERIOD);
    store.renew(&key, None).unwrap();
    assert!(is_about(left(store, &key), MAX_PERIOD));
}

fn renewing_never_shortens_the_remaining_time(store: &dyn Store) {
    let key = store.generate(Some("lobster"), DAY).unwrap();
    for expiry in [HOUR, ZERO, Some(Period::seconds(-1)), Some(MIN_PERIOD)] {
        let session = store.renew(&key, expiry).unwrap();
        assert!(is_about(session.period, Period::DAY), "{expiry:?}");
        assert!(is_about(left(store, &key), Period::DAY), "{expiry:?}");
    }
}

fn renewing_an_absent_expired_or_cleared_session_is_not_found_and_creates_nothing(
    store: &dyn Store,
) {
    let expired = store.generate(Some("lobster"), ZERO).unwrap();
    let cleared = store.generate(Some("lobster"), None).unwrap();
    store.clear(&cleared).unwrap();
    for key in [Key::generate().unwrap(), expired, cleared] {
        assert!(is_not_found(store.renew(&key, HOUR)));
        assert!(is_not_found(store.get(&key)));
    }
}

/// A rotation that gives it a value shows its remaining time.
fn renewing_an_unset_session_is_not_set_and_changes_nothing(store: &dyn Store) {
    let key = store.generate(None, HOUR).unwrap();
    assert!(matches!(store.renew(&key, DAY), Err(Error::NotSet)));
    let set = SessionFields::new(Some("lobster"), None);
    let key = store.rotate_with(&key, set).unwrap();
    assert!(is_about(left(store, &key), Period::HOUR));
}

fn renewing_with_a_period_out_of_range_is_refused_and_changes_nothing(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let nano = Period::nanoseconds(1);
    for period in [
        MAX_PERIOD + nano,
        Period::MAX,
        MIN_PERIOD - nano,
        Period::MIN,
    ] {
        let refused = |result: Result<Session, Error>| matches!(result, Err(Error::PeriodOutOfRange { period: p }) if p == period);
        assert!(refused(store.renew(&key, Some(period))));
        let mut both = store.renew_many(&[(&key, Some(period)), (&key, HOUR)]);
        assert!(both.pop().unwrap().is_ok());
        assert!(refused(both.pop().unwrap()));
        store.set_default_period(period);
        assert!(refused(store.renew(&key, None)));
    }
    assert!(is_about(left(store, &key), Period::HOUR));
}

fn each_renewal_of_a_batch_gets_its_own_result_in_order(store: &dyn Store) {
    let short = store.generate(Some("shrimp"), HALF).unwrap();
    let absent = Key::generate().unwrap();
    let long = store.generate(Some("lobster"), DAY).unwrap();
    let expired = store.generate(Some("crab"), ZERO).unwrap();
    let unset = store.generate(None, HALF).unwrap();
    let other = store.generate(Some("prawn"), HALF).unwrap();
    let renewed = store.renew_many(&[
        (&short, HOUR),
        (&absent, HOUR),
        (&long, HOUR),
        (&expired, HOUR),
        (&unset, HOUR),
        (&other, None),
    ]);
    assert_eq!(renewed.len(), 6);
    for (call, value, period) in [
        (0, "shrimp", Period::HOUR),
        (2, "lobster", Period::DAY),
        (5, "prawn", Period::WEEK),
    ] {
        let session = renewed[call].as_ref().unwrap();
        assert_eq!(session.value, value);
        assert!(is_about(session.period, period), "{session:?}");
    }
    assert!(matches!(renewed[1], Err(Error::NotFound)));
    assert!(matches!(renewed[3], Err(Error::NotFound)));
    assert!(matches!(renewed[4], Err(Error::NotSet)));

    for (key, period) in [
        (&short, Period::HOUR),
        (&long, Period::DAY),
        (&other, Period::WEEK),
    ] {
        assert!(is_about(left(store, key), period));
    }
    assert!(is_not_found(store.get(&absent)));
    assert!(is_not_found(store.get(&expired)));
}

fn renewals_of_one_session_in_a_batch_get_the_longest_period(store: &dyn Store) {
    for periods in [[HALF, HOUR, DAY], [DAY, HALF, HOUR], [HOUR, DAY, ZERO]] {
        let before = Some(Period::minutes(20));
        let key = store.generate(Some("lobster"), before).unwrap();
        let other = store.generate(Some("crab"), before).unwrap();
        let mut calls: Vec<_> = periods.iter().map(|expiry| (&key, *expiry)).collect();
        calls.insert(1, (&other, HOUR));
        let mut renewed = store.renew_many(&calls);
        assert_eq!(renewed.remove(1).unwrap().value, "crab");
        for session in renewed {
            // Each is between the time before and the longest.
            let session = session.unwrap();
            assert_eq!(session.value, "lobster");
            assert!(session.period > Period::minutes(19), "{session:?}");
        }
        assert!(is_about(left(store, &key), Period::DAY));
        assert!(is_about(left(store, &other), Period::HOUR));
    }
}

fn an_empty_batch_of_renewals_has_no_results(store: &dyn Store) {
    assert!(store.renew_many(&[]).is_empty());
}
