//! The age of a session.

use session_postgres::{Key, Period, SessionFields, Store};

use super::{HOUR, beside, of};
use crate::support::wait_until;

rules! {
    owners and ages:
    the_age_of_a_new_session_is_about_zero
    the_age_grows_and_is_the_same_for_every_read
    writing_a_session_does_not_change_its_age
    rotating_a_session_does_not_change_its_age
    a_session_that_is_inserted_again_is_new
}

/// A session that is older than one millisecond.
fn old(store: &dyn Store) -> Key {
    let key = store.generate_with(SessionFields {
        value: Some("lobster"),
        ..of("ann")
    });
    let key = key.unwrap();
    wait_until("the session to get older", || {
        age(store, &key) > Period::MILLISECOND
    });
    key
}

fn age(store: &dyn Store, key: &Key) -> Period {
    store.get(key).unwrap().age.unwrap()
}

fn is_new(age: Option<Period>) -> bool {
    age.is_some_and(|age| !age.is_negative() && age < Period::MINUTE)
}

fn the_age_of_a_new_session_is_about_zero(store: &dyn Store) {
    let generated = store.generate(Some("lobster"), None).unwrap();
    let inserted = Key::generate().unwrap();
    store.insert(&inserted, Some("lobster"), HOUR).unwrap();
    let made = store.generate_many(&[
        SessionFields::new(Some("lobster"), None),
        SessionFields {
            value: Some("lobster"),
            ..of("ann")
        },
    ]);
    let made: Vec<_> = made.into_iter().map(Result::unwrap).collect();
    for key in [&generated, &inserted, &made[0], &made[1]] {
        assert!(is_new(store.get(key).unwrap().age));
    }
}

fn the_age_grows_and_is_the_same_for_every_read(store: &dyn Store) {
    let key = old(store);
    let other = store.generate(Some("crab"), None).unwrap();
    let mut last = age(store, &key);
    let mut grows = |what: &str, age: Option<Period>| {
        let age = age.unwrap_or_else(|| panic!("{what} has no age"));
        assert!(age >= last && age < Period::MINUTE, "{what}: {age}");
        last = age;
    };
    grows("get", store.get(&key).unwrap().age);
    grows("find", store.find(&key).unwrap().unwrap().age);
    let mut many = store.get_many(&[&other, &key]);
    grows("get_many", many.pop().unwrap().unwrap().age);
    grows("renew", store.renew(&key, HOUR).unwrap().age);
    let longer = Some(Period::days(30));
    grows("a renewal", store.renew(&key, longer).unwrap().age);
    let longer = Some(Period::days(90));
    let mut many = store.renew_many(&[(&other, longer), (&key, longer)]);
    grows("renew_many", many.pop().unwrap().unwrap().age);
    let kept = store.update(&key, None, &mut |_| None).unwrap();
    grows("update to none", kept.age);
    let crab = |_: Option<&str>| Some("crab".to_owned());
    let updated = store.update(&key, None, &mut { crab }).unwrap();
    grows("update", updated.age);
    grows("owned", store.owned("ann").unwrap()[0].age);
}

fn writing_a_session_does_not_change_its_age(store: &dyn Store) {
    let key = old(store);
    let before = age(store, &key);
    store.set(&key, "crab", HOUR).unwrap();
    assert!(age(store, &key) >= before);
    store.touch(&key, None).unwrap();
    assert!(age(store, &key) >= before);
    store.renew(&key, Some(Period::days(30))).unwrap();
    assert!(age(store, &key) >= before);
    store.set_owner(&key, None).unwrap();
    assert!(age(store, &key) >= before);
}

fn rotating_a_session_does_not_change_its_age(store: &dyn Store) {
    let key = old(store);
    let before = age(store, &key);
    let key = store.rotate(&key).unwrap();
    assert!(age(store, &key) >= before);
    let login = SessionFields {
        value: Some("crab"),
        expiry: HOUR,
        owner: Some("bob"),
    };
    let key = store.rotate_with(&key, login).unwrap();
    assert!(age(store, &key) >= before);
    let new = beside(store, &key);
    store.rotate_to(&key, &new, login).unwrap();
    assert!(age(store, &new) >= before);
}

fn a_session_that_is_inserted_again_is_new(store: &dyn Store) {
    // So that a session of this age must be older than the second one.
    let [first, second] = [(); 2].map(|()| old(store));
    for end in [true, false] {
        let key = if end { &first } else { &second };
        match end {
            true => store.touch(key, Some(Period::ZERO)).unwrap(),
            false => store.clear(key).unwrap(),
        }
        let witness = store.generate(Some("crab"), None).unwrap();
        store.insert(key, Some("shrimp"), None).unwrap();
        let [inserted, older] = [age(store, key), age(store, &witness)];
        assert!(inserted <= older, "{inserted} and {older}");
    }
}
