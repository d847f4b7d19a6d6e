//! What every backend promises. A rule is a function over any store; each becomes a test of each
//! backend.

use std::sync::Arc;

use session_postgres::{
    DEFAULT_PERIOD, Error, Key, MAX_PERIOD, MIN_PERIOD, Period, Session, Store,
};

use crate::support::{backends, key, wait_until};

macro_rules! rules {
    ($($rule:ident)*) => {
        rules!(memory: $($rule)*);
        rules!(pooled: $($rule)*);
        rules!(single_client: $($rule)*);
        rules!(legacy_table: $($rule)*);
        rules!(unprepared: $($rule)*);
        rules!(offloaded_memory: $($rule)*);
        rules!(offloaded: $($rule)*);
        rules!(offloaded_one_by_one: $($rule)*);
    };
    ($backend:ident: $($rule:ident)*) => {
        mod $backend {
            $(#[test]
            fn $rule() {
                super::$rule(&*super::backends::$backend().store);
            })*
        }
    };
}

rules! {
    generating_with_default_zero_and_negative_expiry_succeeds
    two_generated_keys_differ
    a_generated_key_is_40_url_safe_characters
    clearing_works_and_twice_too
    setting_works_on_a_new_and_on_a_set_session
    getting_a_garbage_key_is_not_found
    getting_an_expired_unset_session_is_not_found
    getting_an_unexpired_unset_session_is_not_set
    a_value_just_set_comes_back
    getting_a_cleared_key_is_not_found
    getting_an_expired_session_with_a_value_is_not_found
    a_session_expires_by_itself
    what_is_left_is_at_most_what_was_given_and_shrinks
    reading_does_not_prolong
    the_default_period_is_a_week
    a_changed_default_period_is_used_from_the_next_call_on
    setting_without_expiry_takes_the_default
    setting_an_absent_key_is_not_found_and_creates_nothing
    setting_an_expired_session_is_not_found_and_revives_nothing
    touching_renews_and_keeps_the_value
    touching_an_unset_session_leaves_it_unset
    touching_an_absent_or_expired_session_is_not_found
    a_negative_expiry_ends_a_session_at_once
    the_empty_string_is_a_value
    values_come_back_to_the_byte
    a_value_with_nul_is_refused_and_nothing_changes
    periods_up_to_the_bounds_work
    periods_beyond_the_bounds_are_refused_and_nothing_changes
    keys_of_any_visible_ascii_work
    keys_differ_in_case
    inserting_makes_a_session_under_the_key
    inserting_a_living_key_is_refused_and_nothing_changes
    inserting_an_expired_or_cleared_key_works
    rotating_moves_value_and_life_to_a_new_key
    rotating_an_unset_session_leaves_it_unset
    rotating_an_absent_or_expired_session_is_not_found
    updating_makes_the_new_value_of_the_old
    updating_an_unset_session_starts_from_none
    updating_to_none_leaves_the_session_as_it_is
    updating_an_absent_or_expired_session_is_not_found
    updating_with_a_bad_value_or_period_changes_nothing
    a_panic_in_an_update_changes_nothing_and_blocks_nobody
    an_update_that_outlives_the_session_is_not_found
    many_give_each_call_its_own_result_in_order
    many_bad_calls_spoil_no_good_one
    many_take_the_same_key_twice
    many_of_none_is_nothing
    ten_thousand_at_once_work
    threads_share_a_store
    an_arc_of_a_store_is_a_store
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "so that a call can be its argument"
)]
fn is_not_found<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::NotFound))
}

fn value(store: &dyn Store, key: &Key) -> String {
    store.get(key).unwrap().value
}

const HOUR: Option<Period> = Some(Period::HOUR);
const ZERO: Option<Period> = Some(Period::ZERO);

fn is_about(period: Period, expected: Period) -> bool {
    // The table keeps hundredths of a second, and rounds; a slow machine takes its time.
    period <= expected + Period::milliseconds(5) && period > expected - Period::MINUTE
}

fn generating_with_default_zero_and_negative_expiry_succeeds(store: &dyn Store) {
    for expiry in [None, ZERO, Some(Period::seconds(-3600))] {
        for value in [None, Some("lobster")] {
            store.generate(value, expiry).unwrap();
        }
    }
}

fn two_generated_keys_differ(store: &dyn Store) {
    assert_ne!(
        store.generate(None, None).unwrap(),
        store.generate(None, None).unwrap()
    );
}

fn a_generated_key_is_40_url_safe_characters(store: &dyn Store) {
    let key = store.generate(None, None).unwrap();
    assert_eq!(key.as_str().len(), 40);
    assert!(
        key.as_str()
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    );
}

fn clearing_works_and_twice_too(store: &dyn Store) {
    let key = store.generate(Some("lobster"), None).unwrap();
    store.clear(&key).unwrap();
    store.clear(&key).unwrap();
    store.clear(&Key::generate().unwrap()).unwrap();
}

fn setting_works_on_a_new_and_on_a_set_session(store: &dyn Store) {
    let key = store.generate(None, None).unwrap();
    store.set(&key, "lobster", None).unwrap();
    store.set(&key, "crab", HOUR).unwrap();
    assert_eq!(value(store, &key), "crab");
}

fn getting_a_garbage_key_is_not_found(store: &dyn Store) {
    assert!(is_not_found(store.get(&key("garbage"))));
    assert!(is_not_found(store.get(&key(
        "'; DROP TABLE session; --".replace(' ', "+").as_str()
    ))));
    assert!(is_not_found(store.get(&Key::generate().unwrap())));
}

fn getting_an_expired_unset_session_is_not_found(store: &dyn Store) {
    let zero = store.generate(None, ZERO).unwrap();
    let negative = store.generate(None, Some(Period::seconds(-1))).unwrap();
    assert!(is_not_found(store.get(&zero)));
    assert!(is_not_found(store.get(&negative)));
}

fn getting_an_unexpired_unset_session_is_not_set(store: &dyn Store) {
    let key = store.generate(None, None).unwrap();
    assert!(matches!(store.get(&key), Err(Error::NotSet)));
}

fn a_value_just_set_comes_back(store: &dyn Store) {
    let key = store.generate(None, None).unwrap();
    store.set(&key, "lobster", None).unwrap();
    assert_eq!(value(store, &key), "lobster");
}

fn getting_a_cleared_key_is_not_found(store: &dyn Store) {
    let key = store.generate(Some("lobster"), None).unwrap();
    store.clear(&key).unwrap();
    assert!(is_not_found(store.get(&key)));
}

fn getting_an_expired_session_with_a_value_is_not_found(store: &dyn Store) {
    for expiry in [
        ZERO,
        Some(Period::milliseconds(-1)),
        Some(Period::seconds(-3600)),
    ] {
        let key = store.generate(Some("lobster"), expiry).unwrap();
        assert!(is_not_found(store.get(&key)), "{expiry:?}");
        assert!(is_not_found(store.get(&key)), "{expiry:?}, read again");
    }
}

fn a_session_expires_by_itself(store: &dyn Store) {
    let key = store
        .generate(Some("lobster"), Some(Period::milliseconds(50)))
        .unwrap();
    wait_until("the session to expire", || is_not_found(store.get(&key)));
    assert!(is_not_found(store.set(&key, "crab", None)));
}

fn what_is_left_is_at_most_what_was_given_and_shrinks(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let first = store.get(&key).unwrap().period;
    assert!(is_about(first, Period::HOUR), "{first}");
    wait_until("time to pass", || store.get(&key).unwrap().period < first);
}

fn reading_does_not_prolong(store: &dyn Store) {
    let key = store
        .generate(Some("lobster"), Some(Period::milliseconds(100)))
        .unwrap();
    wait_until("the session to expire", || is_not_found(store.get(&key)));
}

fn the_default_period_is_a_week(store: &dyn Store) {
    assert_eq!(store.default_period(), Period::WEEK);
    assert_eq!(DEFAULT_PERIOD, Period::WEEK);
    let key = store.generate(Some("lobster"), None).unwrap();
    assert!(is_about(store.get(&key).unwrap().period, Period::WEEK));
}

fn a_changed_default_period_is_used_from_the_next_call_on(store: &dyn Store) {
    store.set_default_period(Period::DAY);
    assert_eq!(store.default_period(), Period::DAY);
    let key = store.generate(Some("lobster"), None).unwrap();
    assert!(is_about(store.get(&key).unwrap().period, Period::DAY));

    store.set_default_period(Period::MAX);
    let refused = store.set(&key, "crab", None);
    assert!(matches!(refused, Err(Error::PeriodOutOfRange { period }) if period == Period::MAX));
    assert_eq!(value(store, &key), "lobster");
}

fn setting_without_expiry_takes_the_default(store: &dyn Store) {
    let key = store.generate(None, HOUR).unwrap();
    store.set(&key, "lobster", None).unwrap();
    assert!(is_about(store.get(&key).unwrap().period, Period::WEEK));
}

fn setting_an_absent_key_is_not_found_and_creates_nothing(store: &dyn Store) {
    let key = Key::generate().unwrap();
    assert!(is_not_found(store.set(&key, "lobster", None)));
    assert!(is_not_found(store.get(&key)));
}

fn setting_an_expired_session_is_not_found_and_revives_nothing(store: &dyn Store) {
    let key = store.generate(Some("lobster"), ZERO).unwrap();
    assert!(is_not_found(store.set(&key, "crab", None)));
    assert!(is_not_found(store.get(&key)));
}

fn touching_renews_and_keeps_the_value(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    store.touch(&key, Some(Period::DAY)).unwrap();
    let Session { value, period } = store.get(&key).unwrap();
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

fn a_negative_expiry_ends_a_session_at_once(store: &dyn Store) {
    for expiry in [ZERO, Some(Period::milliseconds(-1)), Some(MIN_PERIOD)] {
        let key = store.generate(Some("lobster"), None).unwrap();
        store.touch(&key, expiry).unwrap();
        assert!(is_not_found(store.get(&key)));

        let key = store.generate(Some("lobster"), None).unwrap();
        store.set(&key, "crab", expiry).unwrap();
        assert!(is_not_found(store.get(&key)));
    }
}

fn the_empty_string_is_a_value(store: &dyn Store) {
    let key = store.generate(Some(""), None).unwrap();
    assert_eq!(value(store, &key), "");
    store.set(&key, "lobster", None).unwrap();
    store.set(&key, "", None).unwrap();
    assert_eq!(value(store, &key), "");
}

fn values_come_back_to_the_byte(store: &dyn Store) {
    let key = store.generate(None, None).unwrap();
    let large = "0123456789abcdef".repeat(1 << 16);
    for text in [
        "'; DROP TABLE session; --",
        "\"quoted\" \\N \\x00 \\ $1 {table}",
        " blanks at both ends ",
        "line\r\nline\tend",
        "{\"cart\":[1,2,3]}",
        "żółw 漢字 🦞 e\u{301} \u{202e}",
        "\u{1}\u{7f}\u{feff}\u{10ffff}",
        &large,
    ] {
        store.set(&key, text, None).unwrap();
        assert_eq!(value(store, &key), text);
        assert_eq!(
            value(store, &store.generate(Some(text), None).unwrap()),
            text
        );
    }
}

fn a_value_with_nul_is_refused_and_nothing_changes(store: &dyn Store) {
    let bad = "lob\0ster";
    let key = store.generate(Some("crab"), None).unwrap();
    assert!(matches!(
        store.generate(Some(bad), None),
        Err(Error::InvalidValue(_))
    ));
    assert!(matches!(
        store.set(&key, bad, None),
        Err(Error::InvalidValue(_))
    ));
    let other = Key::generate().unwrap();
    assert!(matches!(
        store.insert(&other, Some(bad), None),
        Err(Error::InvalidValue(_))
    ));
    assert_eq!(value(store, &key), "crab");
    assert!(is_not_found(store.get(&other)));
}

fn periods_up_to_the_bounds_work(store: &dyn Store) {
    let key = store.generate(Some("lobster"), Some(MAX_PERIOD)).unwrap();
    assert!(is_about(store.get(&key).unwrap().period, MAX_PERIOD));
    store.touch(&key, Some(MAX_PERIOD)).unwrap();
    store.touch(&key, Some(MIN_PERIOD)).unwrap();
    assert!(is_not_found(store.get(&key)));
}

fn periods_beyond_the_bounds_are_refused_and_nothing_changes(store: &dyn Store) {
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

fn keys_of_any_visible_ascii_work(store: &dyn Store) {
    let all: String = ('!'..='~').collect();
    for text in all
        .as_bytes()
        .chunks(40)
        .map(|c| std::str::from_utf8(c).unwrap())
        .chain(["a", "'"])
    {
        let key = key(text);
        store.insert(&key, Some(text), None).unwrap();
        assert_eq!(value(store, &key), text);
        assert_eq!(store.get_many(&[&key])[0].as_ref().unwrap().value, text);
        store.set(&key, "lobster", None).unwrap();
        store.touch(&key, None).unwrap();
        assert_eq!(value(store, &key), "lobster");
        store.clear(&key).unwrap();
        assert!(is_not_found(store.get(&key)));
    }
}

fn keys_differ_in_case(store: &dyn Store) {
    store.insert(&key("lobster"), Some("small"), None).unwrap();
    store.insert(&key("LOBSTER"), Some("large"), None).unwrap();
    store
        .insert(&key("lobster."), Some("longer"), None)
        .unwrap();
    assert_eq!(value(store, &key("lobster")), "small");
    assert_eq!(value(store, &key("LOBSTER")), "large");
    assert_eq!(value(store, &key("lobster.")), "longer");
}

fn inserting_makes_a_session_under_the_key(store: &dyn Store) {
    let key = Key::generate().unwrap();
    store.insert(&key, Some("lobster"), HOUR).unwrap();
    let session = store.get(&key).unwrap();
    assert_eq!(session.value, "lobster");
    assert!(is_about(session.period, Period::HOUR));

    let unset = Key::generate().unwrap();
    store.insert(&unset, None, None).unwrap();
    assert!(matches!(store.get(&unset), Err(Error::NotSet)));
}

fn inserting_a_living_key_is_refused_and_nothing_changes(store: &dyn Store) {
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

fn rotating_moves_value_and_life_to_a_new_key(store: &dyn Store) {
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

fn updating_makes_the_new_value_of_the_old(store: &dyn Store) {
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

fn updating_to_none_leaves_the_session_as_it_is(store: &dyn Store) {
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
        let result = store.update(&key, None, &mut |_| panic!("there is nothing to edit"));
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

fn a_panic_in_an_update_changes_nothing_and_blocks_nobody(store: &dyn Store) {
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

fn an_update_that_outlives_the_session_is_not_found(store: &dyn Store) {
    let key = store
        .generate(Some("lobster"), Some(Period::milliseconds(300)))
        .unwrap();
    let begun = std::time::Instant::now();
    let result = store.update(&key, None, &mut |_| {
        wait_until("the session to be over", || {
            begun.elapsed().as_millis() > 400
        });
        Some("crab".into())
    });
    assert!(is_not_found(result));
    assert!(is_not_found(store.get(&key)));
}

fn many_give_each_call_its_own_result_in_order(store: &dyn Store) {
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

    let made = store.generate_many(&[(Some("x"), HOUR), (None, None), (Some("y"), ZERO)]);
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

fn many_bad_calls_spoil_no_good_one(store: &dyn Store) {
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
        (Some("\0"), None),
        (Some("good"), None),
        (None, Some(Period::MIN)),
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

fn many_take_the_same_key_twice(store: &dyn Store) {
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

    // In whichever order, one of the two finds the session ended by the other, or ends it last.
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

fn many_of_none_is_nothing(store: &dyn Store) {
    assert!(store.get_many(&[]).is_empty());
    assert!(store.clear_many(&[]).is_empty());
    assert!(store.generate_many(&[]).is_empty());
    assert!(store.set_many(&[]).is_empty());
    assert!(store.touch_many(&[]).is_empty());
    assert!(store.insert_many(&[]).is_empty());
}

fn ten_thousand_at_once_work(store: &dyn Store) {
    let values: Vec<_> = (0..10_000).map(|i| i.to_string()).collect();
    let calls: Vec<_> = values
        .iter()
        .map(|value| (Some(value.as_str()), None))
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

fn threads_share_a_store(store: &dyn Store) {
    let key = store.generate(Some("0"), None).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let add = |value: Option<&str>| {
                        Some((value.unwrap().parse::<u32>().unwrap() + 1).to_string())
                    };
                    store.update(&key, None, &mut { add }).unwrap();
                    let own = store.generate(Some("own"), None).unwrap();
                    assert_eq!(value(store, &own), "own");
                }
            });
        }
    });
    assert_eq!(value(store, &key), "80");
}

fn an_arc_of_a_store_is_a_store(_: &dyn Store) {
    fn is_store<S: Store>() {}
    is_store::<Arc<dyn Store>>();
    is_store::<Arc<session_postgres::MemoryStore>>();
    is_store::<session_postgres::PostgresStore>();
}
