//! Types and lengths of keys.

use session_postgres::{Error, Key, Period, SessionFields, Store};

use crate::support::{database::Schema, key, verbs::VERBS};

#[test]
fn keys_of_up_to_255_characters_work_in_a_column_that_holds_them() {
    for key_type in [
        "varchar(255)",
        "varchar",
        "text",
        "char(255)",
        "text COLLATE \"C\"",
    ] {
        let schema = Schema::new();
        schema.store();
        schema.run(&format!(
            "ALTER TABLE session ALTER COLUMN session_key TYPE {key_type}"
        ));
        let store = schema.builder().from_pool(schema.pool(2));
        store.check().unwrap();
        for length in [1, 39, 40, 41, 64, 255] {
            for (name, verb) in VERBS {
                let key = key(&"~".repeat(length));
                store.insert(&key, Some("lobster"), None).unwrap();
                store.set_owner(&key, Some("crab")).unwrap();
                verb(&store, &key)
                    .unwrap_or_else(|e| panic!("{key_type}, {length}, {name}: {e:?}"));
                store.clear(&key).unwrap();
            }
        }
    }
}

/// A `char(40)` must not cut a longer key to one that exists.
#[test]
fn a_longer_key_is_not_the_key_that_it_begins_with() {
    let schema = Schema::new();
    let store = schema.store();
    let real = store.generate(Some("lobster"), None).unwrap();
    let long = key(&format!("{real}x"));
    for (name, verb) in VERBS {
        let result = verb(&store, &long);
        let is_of_one = ![
            "generate",
            "insert",
            "clear_owned",
            "clear_handle",
            "clear_many",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
        let is_absent = matches!(result, Err(Error::NotFound));
        assert_eq!(is_absent, is_of_one, "{name}: {result:?}");
    }
    store.clear(&long).unwrap();
    assert_eq!(store.get(&real).unwrap().value, "lobster");
}

#[test]
fn a_key_that_is_too_long_for_the_column_fails_alone_and_clearly() {
    let schema = Schema::new();
    let store = schema.store();
    let long = key(&"x".repeat(41));
    let good = Key::generate().unwrap();
    let is_refused = |error: Error| {
        assert!(matches!(error, Error::Database(_)), "{error:?}");
        assert_eq!(error.sqlstate().unwrap().code(), "22001");
        let text = error.to_string();
        assert!(
            text.contains("the table does not accept the data"),
            "{text}"
        );
        assert!(!text.contains(long.as_str()), "{text}");
    };
    is_refused(store.insert(&long, Some("a"), None).unwrap_err());
    let results = store.insert_many(&[(&long, Some("a"), None), (&good, Some("b"), None)]);
    let [refused, added] = results.try_into().unwrap();
    is_refused(refused.unwrap_err());
    added.unwrap();
    assert_eq!(store.get(&good).unwrap().value, "b");
    let moved = store.rotate_to(&good, &long, SessionFields::default());
    is_refused(moved.unwrap_err());
    assert_eq!(store.get(&good).unwrap().value, "b");

    // In the other batches the long key is only absent.
    let both = [&long, &good];
    let absent = |results: Vec<bool>| assert_eq!(results, [false, true]);
    absent(store.get_many(&both).iter().map(Result::is_ok).collect());
    let renewed = store.renew_many(&both.map(|key| (key, Some(Period::DAY * 30))));
    absent(renewed.iter().map(Result::is_ok).collect());
    let set = store.set_many(&both.map(|key| (key, "c", None)));
    absent(set.iter().map(Result::is_ok).collect());
    let touched = store.touch_many(&both.map(|key| (key, None)));
    absent(touched.iter().map(Result::is_ok).collect());
    assert!(store.clear_many(&both).iter().all(Result::is_ok));
    assert_eq!(schema.count("true"), 0);
}
