//! Which owner a session has, and what the list of an owner contains.

use session_postgres::{Error, Key, Period, SessionFields, Store};

use super::{HOUR, ZERO, beside, has_exactly, is_about, is_not_found, of, owned_by, value};
use crate::support::wait_until;

rules! {
    owners and ages:
    a_session_that_is_generated_with_an_owner_is_in_its_list
    a_session_without_an_owner_is_in_no_list
    setting_an_owner_moves_the_session_to_another_list
    setting_an_owner_keeps_value_and_period
    setting_the_owner_of_an_absent_or_expired_session_is_not_found
    the_list_has_the_value_and_the_period_of_each_session
    the_list_begins_with_the_newest_session
    an_expired_or_cleared_session_is_not_in_the_list
    the_owner_stays_when_the_session_is_written
    the_owner_stays_when_the_session_is_rotated
    rotating_with_an_owner_replaces_it
    an_inserted_session_does_not_get_the_owner_of_an_expired_one
    owners_are_compared_exactly
    an_owner_of_1_to_255_bytes_works
    an_invalid_owner_is_refused_and_changes_nothing
    a_batch_may_generate_sessions_with_and_without_owners
}

fn a_session_that_is_generated_with_an_owner_is_in_its_list(store: &dyn Store) {
    let login = SessionFields {
        value: Some("lobster"),
        expiry: HOUR,
        owner: Some("ann"),
    };
    let key = store.generate_with(login).unwrap();
    assert_eq!(value(store, &key), "lobster");
    assert!(is_about(store.get(&key).unwrap().period, Period::HOUR));
    assert!(has_exactly(store, "ann", &[&key]));
    let unset = owned_by(store, "ann");
    assert!(matches!(store.get(&unset), Err(Error::NotSet)));
    assert!(has_exactly(store, "ann", &[&key, &unset]));
}

fn a_session_without_an_owner_is_in_no_list(store: &dyn Store) {
    store.generate_with(SessionFields::default()).unwrap();
    store.generate(Some("ann"), None).unwrap();
    let inserted = Key::generate().unwrap();
    store.insert(&inserted, Some("ann"), None).unwrap();
    assert!(store.owned("ann").unwrap().is_empty());
    assert!(store.owned("NULL").unwrap().is_empty());
}

fn setting_an_owner_moves_the_session_to_another_list(store: &dyn Store) {
    let key = store.generate(Some("lobster"), None).unwrap();
    let other = owned_by(store, "bob");
    store.set_owner(&key, Some("ann")).unwrap();
    assert!(has_exactly(store, "ann", &[&key]));
    store.set_owner(&key, Some("bob")).unwrap();
    assert!(has_exactly(store, "ann", &[]));
    assert!(has_exactly(store, "bob", &[&key, &other]));
    store.set_owner(&key, None).unwrap();
    store.set_owner(&key, None).unwrap();
    assert!(has_exactly(store, "bob", &[&other]));
}

fn setting_an_owner_keeps_value_and_period(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    for owner in [Some("ann"), None] {
        store.set_owner(&key, owner).unwrap();
        let session = store.get(&key).unwrap();
        assert_eq!(session.value, "lobster");
        assert!(is_about(session.period, Period::HOUR));
    }
    let unset = store.generate(None, None).unwrap();
    store.set_owner(&unset, Some("ann")).unwrap();
    assert!(matches!(store.get(&unset), Err(Error::NotSet)));
}

fn setting_the_owner_of_an_absent_or_expired_session_is_not_found(store: &dyn Store) {
    let expired = store.generate(Some("lobster"), ZERO).unwrap();
    for key in [Key::generate().unwrap(), expired] {
        assert!(is_not_found(store.set_owner(&key, Some("ann"))));
        assert!(is_not_found(store.set_owner(&key, None)));
        assert!(is_not_found(store.get(&key)));
    }
    assert!(has_exactly(store, "ann", &[]));
}

fn the_list_has_the_value_and_the_period_of_each_session(store: &dyn Store) {
    for (value, expiry) in [
        (Some("lobster"), HOUR),
        (Some(""), Some(Period::DAY)),
        (None, None),
    ] {
        let owner = Some("ann");
        let fields = SessionFields {
            value,
            expiry,
            owner,
        };
        let key = store.generate_with(fields).unwrap();
        let owned = store.owned("ann").unwrap();
        let session = owned.iter().find(|owned| owned.handle == key.handle());
        let session = session.unwrap();
        assert_eq!(session.value.as_deref(), value);
        let period = expiry.unwrap_or(Period::WEEK);
        assert!(is_about(session.period, period), "{session:?}");
    }
}

fn the_list_begins_with_the_newest_session(store: &dyn Store) {
    let mut newest_first = Vec::new();
    for _ in 0..5 {
        let key = store.generate_with(of("ann")).unwrap();
        newest_first.insert(0, key.handle());
        // The clock must differ for the next one.
        let age = || store.owned("ann").unwrap()[0].age.unwrap();
        wait_until("the session to get older", || age() > Period::MILLISECOND);
    }
    let owned = store.owned("ann").unwrap();
    let handles: Vec<_> = owned.iter().map(|owned| owned.handle.clone()).collect();
    assert_eq!(handles, newest_first);
    assert!(owned.windows(2).all(|pair| pair[0].age < pair[1].age));
}

fn an_expired_or_cleared_session_is_not_in_the_list(store: &dyn Store) {
    let kept = owned_by(store, "ann");
    let expired = SessionFields {
        expiry: ZERO,
        ..of("ann")
    };
    store.generate_with(expired).unwrap();
    store.touch(&owned_by(store, "ann"), ZERO).unwrap();
    store.clear(&owned_by(store, "ann")).unwrap();
    assert!(has_exactly(store, "ann", &[&kept]));
    let soon = SessionFields {
        expiry: Some(Period::milliseconds(50)),
        ..of("ann")
    };
    store.generate_with(soon).unwrap();
    wait_until("the session to expire", || {
        has_exactly(store, "ann", &[&kept])
    });
}

fn the_owner_stays_when_the_session_is_written(store: &dyn Store) {
    let key = owned_by(store, "ann");
    store.set(&key, "lobster", None).unwrap();
    store.touch(&key, HOUR).unwrap();
    store.renew(&key, Some(Period::DAY)).unwrap();
    let crab = |_: Option<&str>| Some("crab".to_owned());
    store.update(&key, None, &mut { crab }).unwrap();
    let refused = store.insert(&key, Some("shrimp"), None);
    assert!(matches!(refused, Err(Error::KeyExists)));
    let sets = [(&key, "prawn", None), (&key, "squid", None)];
    assert!(store.set_many(&sets).iter().all(Result::is_ok));
    assert!(store.touch_many(&[(&key, HOUR)]).iter().all(Result::is_ok));
    assert!(has_exactly(store, "ann", &[&key]));
}

fn the_owner_stays_when_the_session_is_rotated(store: &dyn Store) {
    let key = store.rotate(&owned_by(store, "ann")).unwrap();
    assert!(has_exactly(store, "ann", &[&key]));
    let fields = SessionFields::new(Some("lobster"), HOUR);
    let key = store.rotate_with(&key, fields).unwrap();
    assert!(has_exactly(store, "ann", &[&key]));
    let new = beside(store, &key);
    store.rotate_to(&key, &new, fields).unwrap();
    assert!(has_exactly(store, "ann", &[&new]));
}

fn rotating_with_an_owner_replaces_it(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    let key = store.rotate_with(&key, of("ann")).unwrap();
    assert!(has_exactly(store, "ann", &[&key]));
    let session = store.get(&key).unwrap();
    assert_eq!(session.value, "lobster");
    assert!(is_about(session.period, Period::HOUR));

    let login = SessionFields {
        value: Some("crab"),
        expiry: Some(Period::DAY),
        owner: Some("bob"),
    };
    let new = beside(store, &key);
    store.rotate_to(&key, &new, login).unwrap();
    assert!(has_exactly(store, "ann", &[]));
    assert!(has_exactly(store, "bob", &[&new]));
    let session = store.get(&new).unwrap();
    assert_eq!(session.value, "crab");
    assert!(is_about(session.period, Period::DAY));
}

fn an_inserted_session_does_not_get_the_owner_of_an_expired_one(store: &dyn Store) {
    let key = owned_by(store, "ann");
    store.touch(&key, ZERO).unwrap();
    store.insert(&key, Some("crab"), None).unwrap();
    assert!(has_exactly(store, "ann", &[]));

    let gone = beside(store, &key);
    store.insert(&gone, None, None).unwrap();
    store.set_owner(&gone, Some("ann")).unwrap();
    store.touch(&gone, ZERO).unwrap();
    let nothing = SessionFields::default();
    store.rotate_to(&key, &gone, nothing).unwrap();
    assert!(has_exactly(store, "ann", &[]));
}

fn owners_are_compared_exactly(store: &dyn Store) {
    let owners = [
        "ann", "Ann", "ann ", " ann", "a%", "a_n", "żółw", "z\u{307}",
    ];
    let keys = owners.map(|owner| owned_by(store, owner));
    for (owner, key) in owners.iter().zip(&keys) {
        assert!(has_exactly(store, owner, &[key]), "{owner:?}");
    }
}

fn an_owner_of_1_to_255_bytes_works(store: &dyn Store) {
    let longest = "ż".repeat(127) + "a";
    assert_eq!(longest.len(), 255);
    for owner in [
        "1",
        " ",
        "'; DROP TABLE session; --",
        "{NULL,\"a\\\"b\"}",
        "\n\u{1}",
        &longest,
    ] {
        let key = owned_by(store, owner);
        assert!(has_exactly(store, owner, &[&key]));
        let key = store.rotate_with(&key, of("another")).unwrap();
        store.set_owner(&key, Some(owner)).unwrap();
        assert!(has_exactly(store, owner, &[&key]));
        let many = store.generate_many(&[of(owner), of("another")]);
        let new = many.into_iter().next().unwrap().unwrap();
        assert!(has_exactly(store, owner, &[&key, &new]));
        assert!(store.clear_handle(owner, &new.handle()).unwrap());
        assert_eq!(store.clear_owned(owner, None).unwrap(), 1);
    }
}

fn an_invalid_owner_is_refused_and_changes_nothing(store: &dyn Store) {
    let key = owned_by(store, "ann");
    store.set(&key, "lobster", None).unwrap();
    let new = beside(store, &key);
    for owner in ["", &"a".repeat(256), &"ż".repeat(128), "a\0b"] {
        for result in [
            store.generate_with(of(owner)).map(drop),
            store.generate_many(&[of(owner)]).remove(0).map(drop),
            store.rotate_with(&key, of(owner)).map(drop),
            store.rotate_to(&key, &new, of(owner)),
            store.set_owner(&key, Some(owner)),
            store.owned(owner).map(drop),
            store.clear_owned(owner, None).map(drop),
            store.clear_handle(owner, &key.handle()).map(drop),
        ] {
            assert!(matches!(result, Err(Error::InvalidOwner(_))), "{result:?}");
        }
    }
    assert_eq!(value(store, &key), "lobster");
    assert!(is_not_found(store.get(&new)));
    assert!(has_exactly(store, "ann", &[&key]));
}

fn a_batch_may_generate_sessions_with_and_without_owners(store: &dyn Store) {
    let with = |value, owner| SessionFields {
        value: Some(value),
        expiry: HOUR,
        owner,
    };
    let made = store.generate_many(&[
        with("0", Some("ann")),
        with("1", None),
        with("2", Some("bob")),
        with("3", Some("")),
        with("\0", Some("ann")),
        with("5", None),
        with("6", Some("ann")),
    ]);
    assert_eq!(made.len(), 7);
    assert!(matches!(made[3], Err(Error::InvalidOwner(_))));
    assert!(matches!(made[4], Err(Error::InvalidValue(_))));
    let key = |call: usize| made[call].as_ref().unwrap();
    for call in [0, 1, 2, 5, 6] {
        assert_eq!(value(store, key(call)), call.to_string());
        let period = store.get(key(call)).unwrap().period;
        assert!(is_about(period, Period::HOUR));
    }
    assert!(has_exactly(store, "ann", &[key(0), key(6)]));
    assert!(has_exactly(store, "bob", &[key(2)]));
}
