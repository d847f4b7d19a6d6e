//! The rules of `clear_owned` and `clear_handle`.

use session_postgres::{Key, SessionFields, Store};

use super::{ZERO, handles, has_exactly, is_not_found, of, owned_by, value};

rules! {
    owners and ages:
    clearing_an_owner_removes_its_sessions_and_no_others
    clearing_an_owner_keeps_the_session_with_the_given_key
    clearing_an_owner_except_for_another_session_removes_all
    clearing_an_owner_counts_no_expired_sessions
    clearing_an_owner_does_not_end_later_sessions
    clearing_a_handle_removes_that_session_only
    clearing_a_handle_of_another_owner_removes_nothing
    clearing_a_handle_of_an_expired_or_cleared_session_is_false
    clearing_anything_but_a_handle_removes_nothing
}

fn clearing_an_owner_removes_its_sessions_and_no_others(store: &dyn Store) {
    let ann = [(); 3].map(|()| owned_by(store, "ann"));
    let bob = owned_by(store, "bob");
    let nobody = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(store.clear_owned("ann", None).unwrap(), 3);
    assert!(ann.iter().all(|key| is_not_found(store.get(key))));
    assert!(has_exactly(store, "ann", &[]));
    assert!(has_exactly(store, "bob", &[&bob]));
    assert_eq!(value(store, &nobody), "lobster");
    assert_eq!(store.clear_owned("ann", None).unwrap(), 0);
    assert_eq!(store.clear_owned("eve", None).unwrap(), 0);
}

fn clearing_an_owner_keeps_the_session_with_the_given_key(store: &dyn Store) {
    let [phone, laptop, desktop] = [(); 3].map(|()| owned_by(store, "ann"));
    store.set(&laptop, "lobster", None).unwrap();
    assert_eq!(store.clear_owned("ann", Some(&laptop)).unwrap(), 2);
    assert!(has_exactly(store, "ann", &[&laptop]));
    assert_eq!(value(store, &laptop), "lobster");
    assert!(is_not_found(store.touch(&phone, None)));
    assert!(is_not_found(store.touch(&desktop, None)));
    assert_eq!(store.clear_owned("ann", Some(&laptop)).unwrap(), 0);
}

fn clearing_an_owner_except_for_another_session_removes_all(store: &dyn Store) {
    let bob = owned_by(store, "bob");
    let nobody = store.generate(None, None).unwrap();
    for except in [&bob, &nobody, &Key::generate().unwrap()] {
        let ann = owned_by(store, "ann");
        assert_eq!(store.clear_owned("ann", Some(except)).unwrap(), 1);
        assert!(is_not_found(store.touch(&ann, None)));
    }
    assert!(has_exactly(store, "bob", &[&bob]));
    assert!(store.touch(&nobody, None).is_ok());
}

fn clearing_an_owner_counts_no_expired_sessions(store: &dyn Store) {
    let over = SessionFields {
        expiry: ZERO,
        ..of("ann")
    };
    store.generate_with(over).unwrap();
    owned_by(store, "ann");
    store.generate_with(over).unwrap();
    assert_eq!(store.clear_owned("ann", None).unwrap(), 1);
    store.generate_with(over).unwrap();
    assert_eq!(store.clear_owned("ann", None).unwrap(), 0);
}

fn clearing_an_owner_does_not_end_later_sessions(store: &dyn Store) {
    store.clear_owned("ann", None).unwrap();
    let key = owned_by(store, "ann");
    assert!(has_exactly(store, "ann", &[&key]));
    // A session that had this owner before is not removed either.
    store.set_owner(&key, Some("bob")).unwrap();
    assert_eq!(store.clear_owned("ann", None).unwrap(), 0);
    assert!(has_exactly(store, "bob", &[&key]));
}

fn clearing_a_handle_removes_that_session_only(store: &dyn Store) {
    let [phone, laptop] = [(); 2].map(|()| owned_by(store, "ann"));
    let listed = handles(store, "ann");
    assert!(listed.contains(&phone.handle()));
    assert!(store.clear_handle("ann", &phone.handle()).unwrap());
    assert!(is_not_found(store.touch(&phone, None)));
    assert!(has_exactly(store, "ann", &[&laptop]));
    assert!(!store.clear_handle("ann", &phone.handle()).unwrap());
    // Its handle follows a session to its new key.
    let moved = store.rotate(&laptop).unwrap();
    assert!(!store.clear_handle("ann", &laptop.handle()).unwrap());
    assert!(store.clear_handle("ann", &moved.handle()).unwrap());
}

fn clearing_a_handle_of_another_owner_removes_nothing(store: &dyn Store) {
    let bob = owned_by(store, "bob");
    let nobody = store.generate(None, None).unwrap();
    owned_by(store, "ann");
    for key in [&bob, &nobody] {
        assert!(!store.clear_handle("ann", &key.handle()).unwrap());
        assert!(store.touch(key, None).is_ok());
    }
}

fn clearing_a_handle_of_an_expired_or_cleared_session_is_false(store: &dyn Store) {
    let [expired, cleared] = [(); 2].map(|()| owned_by(store, "ann"));
    store.touch(&expired, ZERO).unwrap();
    store.clear(&cleared).unwrap();
    for key in [expired, cleared] {
        assert!(!store.clear_handle("ann", &key.handle()).unwrap());
    }
}

/// A handle comes from a visitor, so it may be any text.
fn clearing_anything_but_a_handle_removes_nothing(store: &dyn Store) {
    let key = owned_by(store, "ann");
    let handle = key.handle();
    for wrong in [
        "",
        "%",
        "' OR true; --",
        "żółw",
        key.as_str(),
        &handle.to_uppercase().replace(char::is_numeric, "A"),
        &handle[1..],
        &format!("{handle} "),
        &"0".repeat(1 << 20),
    ] {
        assert!(!store.clear_handle("ann", wrong).unwrap(), "{wrong}");
    }
    assert!(has_exactly(store, "ann", &[&key]));
}
