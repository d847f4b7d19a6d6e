//! Which keys and values a store accepts and returns.

use session_postgres::{Error, Key, Store};

use super::{is_not_found, value};
use crate::support::key;

rules! {
    two_generated_keys_differ
    a_generated_key_is_40_url_safe_characters
    keys_of_any_visible_ascii_characters_work
    keys_are_case_sensitive
    the_empty_string_is_a_value
    values_are_returned_unchanged
    a_value_with_nul_is_refused_and_changes_nothing
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

fn keys_of_any_visible_ascii_characters_work(store: &dyn Store) {
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

fn keys_are_case_sensitive(store: &dyn Store) {
    store.insert(&key("lobster"), Some("small"), None).unwrap();
    store.insert(&key("LOBSTER"), Some("large"), None).unwrap();
    store
        .insert(&key("lobster."), Some("longer"), None)
        .unwrap();
    assert_eq!(value(store, &key("lobster")), "small");
    assert_eq!(value(store, &key("LOBSTER")), "large");
    assert_eq!(value(store, &key("lobster.")), "longer");
}

fn the_empty_string_is_a_value(store: &dyn Store) {
    let key = store.generate(Some(""), None).unwrap();
    assert_eq!(value(store, &key), "");
    store.set(&key, "lobster", None).unwrap();
    store.set(&key, "", None).unwrap();
    assert_eq!(value(store, &key), "");
}

fn values_are_returned_unchanged(store: &dyn Store) {
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

fn a_value_with_nul_is_refused_and_changes_nothing(store: &dyn Store) {
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
