//! Owners and ages on a table without their columns, which is the table of OCaml's session-postgresql.

use session_postgres::{Error, SessionFields, Store};

use super::{HOUR, beside, is_not_found, of, value};

rules! {
    legacy_table:
    calls_for_owners_fail_because_of_the_missing_column_and_change_nothing
    a_batch_generates_the_sessions_without_an_owner
    invalid_owners_are_refused_before_the_column_is_missed
    the_age_of_a_session_is_unknown
}

fn is_missing<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::MissingColumn { .. }))
}

fn calls_for_owners_fail_because_of_the_missing_column_and_change_nothing(store: &dyn Store) {
    let key = store.generate(Some("lobster"), None).unwrap();
    let new = beside(store, &key);
    for _ in 0..2 {
        assert!(is_missing(&store.generate_with(of("ann"))));
        assert!(is_missing(&store.rotate_with(&key, of("ann"))));
        assert!(is_missing(&store.rotate_to(&key, &new, of("ann"))));
        assert!(is_missing(&store.set_owner(&key, Some("ann"))));
        assert!(is_missing(&store.set_owner(&key, None)));
        assert!(is_missing(&store.owned("ann")));
        assert!(is_missing(&store.clear_owned("ann", None)));
        assert!(is_missing(&store.clear_owned("ann", Some(&key))));
        assert!(is_missing(&store.clear_handle("ann", &key.handle())));
    }
    assert_eq!(value(store, &key), "lobster");
    assert!(is_not_found(store.get(&new)));
}

fn a_batch_generates_the_sessions_without_an_owner(store: &dyn Store) {
    let made = store.generate_many(&[
        SessionFields::new(Some("0"), None),
        of("ann"),
        SessionFields::new(Some("2"), HOUR),
        of("bob"),
    ]);
    assert_eq!(value(store, made[0].as_ref().unwrap()), "0");
    assert!(is_missing(&made[1]));
    assert_eq!(value(store, made[2].as_ref().unwrap()), "2");
    assert!(is_missing(&made[3]));
}

fn invalid_owners_are_refused_before_the_column_is_missed(store: &dyn Store) {
    let refused = store.owned("");
    assert!(matches!(refused, Err(Error::InvalidOwner(_))));
    let refused = store.generate_with(of("a\0b"));
    assert!(matches!(refused, Err(Error::InvalidOwner(_))));
}

fn the_age_of_a_session_is_unknown(store: &dyn Store) {
    let key = store.generate(Some("lobster"), HOUR).unwrap();
    assert_eq!(store.get(&key).unwrap().age, None);
    assert_eq!(store.find(&key).unwrap().unwrap().age, None);
    assert_eq!(store.renew(&key, None).unwrap().age, None);
    let found = store.get_many(&[&key, &key]);
    assert!(
        found
            .iter()
            .all(|found| found.as_ref().unwrap().age.is_none())
    );
    let kept = store.update(&key, None, &mut |_| None).unwrap();
    assert_eq!(kept.age, None);
}
