//! A table that contains hashes of the keys.

use session_postgres::{
    Columns, Error, Key, OwnedSession, Period, PostgresStore, PostgresStoreBuilder, SessionFields,
    Store,
};

use crate::support::{
    database::Schema,
    key,
    verbs::{VERBS, of_owner},
};

const HASH_KEYS: &str = include_str!("../../sql/hash-keys.sql");

fn hashing(schema: &Schema) -> PostgresStoreBuilder {
    schema.builder().hash_keys(true)
}

/// A store with a new table of hashed keys.
fn hashed(schema: &Schema) -> PostgresStore {
    let store = hashing(schema).from_pool(schema.pool(2));
    store.create_table().unwrap();
    store.check().unwrap();
    store
}

/// Fails if a row contains the key, or a part of it.
fn assert_unknown(schema: &Schema, key: &Key) {
    let text = key.as_str();
    // The halves of a short key could be part of a hash by chance.
    let (first, second) = text.split_at(text.len() / 2);
    let halves = if text.len() < 40 {
        [text, text]
    } else {
        [first, second]
    };
    for part in halves.map(|part| part.replace('\'', "''")) {
        let condition = format!("strpos(session::text, '{part}') > 0");
        assert_eq!(schema.count(&condition), 0, "{condition}");
    }
}

/// The stored hash of the only session.
fn stored_key(schema: &Schema) -> Key {
    let sql = "SELECT session_key_hash::text FROM session";
    let row = schema.client().query_one(sql, &[]).unwrap();
    key(row.get(0))
}

#[test]
fn every_verb_works_and_the_table_contains_no_key() {
    let schema = Schema::new();
    let store = hashed(&schema);
    for (name, verb) in VERBS {
        let key = store.generate_with(of_owner("crab")).unwrap();
        assert_unknown(&schema, &key);
        verb(&store, &key).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_unknown(&schema, &key);
    }
    let short = key("lob-ster-key");
    store.insert(&short, Some("a"), None).unwrap();
    assert!(matches!(
        store.insert(&short, None, None),
        Err(Error::KeyExists)
    ));
    assert_unknown(&schema, &short);
    let moved = store.rotate(&short).unwrap();
    assert!(store.find(&short).unwrap().is_none());
    assert_eq!(store.get(&moved).unwrap().value, "a");
    assert_unknown(&schema, &moved);
    store.touch(&moved, Some(Period::ZERO)).unwrap();
    assert_eq!(store.prune(10).unwrap(), 1);
}

#[test]
fn a_hash_from_the_table_is_not_accepted_as_a_key() {
    let schema = Schema::new();
    let store = hashed(&schema);
    let key = store.generate_with(of_owner("crab")).unwrap();
    let stolen = stored_key(&schema);
    assert_ne!(stolen, key);
    assert!(store.find(&stolen).unwrap().is_none());
    assert!(matches!(
        store.get_many(&[&stolen, &key])[0],
        Err(Error::NotFound)
    ));
    assert!(matches!(
        store.set(&stolen, "x", None),
        Err(Error::NotFound)
    ));
    assert!(matches!(store.renew(&stolen, None), Err(Error::NotFound)));
    assert!(matches!(store.rotate(&stolen), Err(Error::NotFound)));
    store.clear(&stolen).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    // The handle is another hash, so a page that shows it does not show what the table contains.
    assert!(!stolen.as_str().contains(&key.handle()));
    assert!(!store.clear_handle("crab", stolen.as_str()).unwrap());
    assert!(store.clear_handle("crab", &key.handle()).unwrap());
}

/// The handles of an owner, sorted.
fn handles(store: &PostgresStore) -> Vec<String> {
    let owned: Vec<OwnedSession> = store.owned("crab").unwrap();
    let mut handles: Vec<_> = owned.into_iter().map(|session| session.handle).collect();
    handles.sort();
    handles
}

#[test]
fn a_converted_table_keeps_all_sessions_and_handles() {
    for key_type in [
        "char(40)",
        "varchar(40)",
        "varchar(255)",
        "text",
        "char(255)",
    ] {
        let schema = Schema::new();
        schema.run(&format!(
            "CREATE TABLE session (session_key {key_type} PRIMARY KEY, \
                 expire_date timestamp (2) with time zone NOT NULL, session_data text, \
                 created_at timestamptz NOT NULL DEFAULT now(), owner text); \
             CREATE INDEX ON session (owner)"
        ));
        let plain = schema.builder().from_pool(schema.pool(1));
        let mut keys: Vec<_> = (0..5)
            .map(|_| plain.generate_with(of_owner("crab")).unwrap())
            .collect();
        keys.push(key("short"));
        keys.push(key("~!'\"\\{}%_$1"));
        if key_type.contains("255") || key_type == "text" {
            keys.push(key(&"0123456789abcdef".repeat(4)));
            keys.push(key(&"x".repeat(255)));
        }
        for key in &keys[5..] {
            plain
                .insert(key, Some("lobster"), Some(Period::HOUR))
                .unwrap();
            plain.set_owner(key, Some("crab")).unwrap();
        }
        let before = handles(&plain);
        let mut expected: Vec<_> = keys.iter().map(Key::handle).collect();
        expected.sort();
        assert_eq!(before, expected, "{key_type}");

        schema.run(HASH_KEYS);
        let store = hashing(&schema).from_pool(schema.pool(1));
        store.check().unwrap();
        assert_eq!(handles(&store), before, "{key_type}");
        for key in &keys {
            assert_eq!(store.get(key).unwrap().value, "lobster", "{key_type}");
            assert_unknown(&schema, key);
        }
        assert!(store.clear_handle("crab", &keys[0].handle()).unwrap());
        assert!(store.find(&keys[0]).unwrap().is_none());
        assert_eq!(
            store.clear_owned("crab", Some(&keys[1])).unwrap() as usize,
            keys.len() - 2
        );
        assert_eq!(store.get(&keys[1]).unwrap().value, "lobster");
        assert_eq!(schema.count("true"), 1);
    }
}

#[test]
fn a_store_with_the_wrong_setting_fails_in_every_verb_and_check_says_why() {
    for hashes in [true, false] {
        let schema = Schema::new();
        let right = schema.builder().hash_keys(hashes);
        let right = right.from_pool(schema.pool(1));
        right.create_table().unwrap();
        let key = right.generate_with(of_owner("crab")).unwrap();
        let wrong = schema.builder().hash_keys(!hashes);
        let wrong = wrong.from_pool(schema.pool(1));
        for (name, verb) in VERBS {
            let error = verb(&wrong, &key).unwrap_err();
            assert!(
                matches!(error, Error::MissingColumn { .. }),
                "{name}: {error:?}"
            );
            assert!(error.to_string().contains("sql/hash-keys.sql"), "{error}");
        }
        let Err(Error::UnfitTable { problems, .. }) = wrong.check() else {
            panic!("the wrong setting was accepted");
        };
        let (state, advice) = match hashes {
            true => ("its keys are hashed", "turn on the option `hash_keys`"),
            false => ("its keys are not hashed", "turn off the option `hash_keys`"),
        };
        let explains = |problem: &&String| problem.starts_with(state) && problem.ends_with(advice);
        assert_eq!(problems.iter().filter(explains).count(), 1, "{problems:?}");
        assert_eq!(right.get(&key).unwrap().value, "lobster");
        assert_eq!(schema.count("true"), 1);
    }
}

#[test]
fn the_column_of_the_hashes_may_have_another_name() {
    let schema = Schema::new();
    let columns = Columns {
        key: "token",
        ..Columns::default()
    };
    let builder = hashing(&schema).columns(columns).unwrap();
    let store = builder.from_pool(schema.pool(1));
    store.create_table().unwrap();
    store.check().unwrap();
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    assert_eq!(schema.count("token IS NOT NULL"), 1);
    assert_unknown(&schema, &key);
}

#[test]
fn keys_of_64_hexadecimal_digits_fit_into_the_recommended_table() {
    let schema = Schema::new();
    let store = hashed(&schema);
    let [first, second] = ["0123456789abcdef", "fedcba9876543210"].map(|part| key(&part.repeat(4)));
    store.insert(&first, Some("a"), None).unwrap();
    store
        .rotate_to(&first, &second, SessionFields::default())
        .unwrap();
    assert!(store.find(&first).unwrap().is_none());
    assert_eq!(store.get(&second).unwrap().value, "a");
    store.set(&second, "b", None).unwrap();
    assert_eq!(store.renew(&second, None).unwrap().value, "b");
    store.clear(&second).unwrap();
    assert_eq!(schema.count("true"), 0);
}

#[test]
fn batches_return_results_in_the_order_of_their_calls() {
    let schema = Schema::new();
    let store = hashed(&schema);
    let names: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    let fields = names
        .iter()
        .map(|name| SessionFields::new(Some(name), None));
    let made = store.generate_many(&fields.collect::<Vec<_>>());
    let keys: Vec<Key> = made.into_iter().map(Result::unwrap).collect();
    let all: Vec<_> = keys.iter().collect();
    let has_values = |prefix: &str| {
        let found = store.get_many(&all);
        for (name, found) in names.iter().zip(found) {
            assert_eq!(found.unwrap().value, format!("{prefix}{name}"));
        }
    };
    has_values("");
    let values: Vec<_> = names.iter().map(|name| format!("new {name}")).collect();
    let sets = keys.iter().zip(&values);
    let set = store.set_many(
        &sets
            .map(|(key, value)| (key, value.as_str(), None))
            .collect::<Vec<_>>(),
    );
    assert!(set.iter().all(Result::is_ok));
    has_values("new ");
    let renewed = store.renew_many(&keys.iter().map(|key| (key, None)).collect::<Vec<_>>());
    for (value, renewed) in values.iter().zip(renewed) {
        assert_eq!(renewed.unwrap().value, *value);
    }
    // The order of the hashes is not that of the keys.
    let mixed = [&keys[0], &Key::generate().unwrap(), &keys[1], &keys[0]];
    let touched = store.touch_many(&mixed.map(|key| (key, None)));
    let found: Vec<_> = touched.iter().map(Result::is_ok).collect();
    assert_eq!(found, [true, false, true, true]);
    let again = store.insert_many(&mixed.map(|key| (key, Some("x"), None)));
    let added: Vec<_> = again.iter().map(Result::is_ok).collect();
    assert_eq!(added, [false, true, false, false]);
    assert!(store.clear_many(&all).iter().all(Result::is_ok));
    assert_eq!(schema.count("true"), 1);
}
