//! Values of the types `json` and `jsonb`.

use session_postgres::{Error, Key, Period, PostgresStore, SessionFields, Store, ValueType};

use crate::support::{
    database::Schema,
    proxy::{Break, Proxy},
};

const TYPES: [ValueType; 2] = [ValueType::Json, ValueType::Jsonb];

fn table(value_type: ValueType) -> (Schema, PostgresStore) {
    let schema = Schema::new();
    let builder = schema.builder().value_type(value_type);
    let store = builder.from_pool(schema.pool(2));
    store.create_table().unwrap();
    store.check().unwrap();
    (schema, store)
}

/// A value, and how `jsonb` normalizes it.
const VALUE: [&str; 2] = [
    "{\"b\":1,\"a\":[1,  2],\"b\":\"é\"}",
    "{\"a\": [1, 2], \"b\": \"é\"}",
];

#[test]
fn valid_json_makes_the_round_trip() {
    for (value_type, expected) in TYPES.into_iter().zip(VALUE) {
        let (schema, store) = table(value_type);
        let value = VALUE[0];
        let fields = SessionFields {
            value: Some(value),
            expiry: None,
            owner: Some("crab"),
        };
        let is_kept = |key: &Key| {
            assert_eq!(store.get(key).unwrap().value, expected, "{value_type:?}");
            let many = store.get_many(&[key, key]);
            assert_eq!(many[1].as_ref().unwrap().value, expected);
            let due = store.renew(key, Some(Period::DAY * 30)).unwrap();
            assert_eq!(due.value, expected);
            let again = store.renew(key, Some(Period::DAY)).unwrap();
            assert_eq!(again.value, expected);
        };
        let key = store.generate_with(fields).unwrap();
        is_kept(&key);
        assert_eq!(
            store.owned("crab").unwrap()[0].value.as_deref(),
            Some(expected)
        );
        for key in store.generate_many(&[fields, SessionFields::new(Some(value), None)]) {
            is_kept(&key.unwrap());
        }
        store.set(&key, "null", None).unwrap();
        assert_eq!(store.get(&key).unwrap().value, "null");
        store.set(&key, value, Some(Period::seconds(9))).unwrap();
        is_kept(&key);
        let set = store.set_many(&[(&key, "1", None), (&key, value, None)]);
        assert!(set.iter().all(Result::is_ok));
        is_kept(&key);
        let edit = &mut |old: Option<&str>| {
            assert_eq!(old, Some(expected));
            Some(value.to_owned())
        };
        assert_eq!(store.update(&key, None, edit).unwrap().value, expected);
        let new = store
            .rotate_with(&key, SessionFields::new(Some(value), None))
            .unwrap();
        is_kept(&new);
        let inserted = Key::generate().unwrap();
        store.insert(&inserted, Some(value), None).unwrap();
        is_kept(&inserted);

        let unset = store.generate(None, None).unwrap();
        assert!(matches!(store.get(&unset), Err(Error::NotSet)));
        assert_eq!(schema.count("session_data IS NULL"), 1);
    }
}

#[test]
fn a_transaction_reads_and_writes_json() {
    for (value_type, expected) in TYPES.into_iter().zip(VALUE) {
        let (_schema, store) = table(value_type);
        store
            .transaction(|tx| {
                let key = tx.generate(Some(VALUE[0]), None)?;
                assert_eq!(tx.get(&key)?.value, expected);
                tx.set(&key, "[]", None)?;
                let updated = tx.update(&key, None, |_| Some(VALUE[0].to_owned()))?;
                assert_eq!(updated.value, expected);
                let changes = SessionFields::new(Some("{}"), None);
                let new = tx.rotate_with(&key, changes)?;
                assert_eq!(tx.renew(&new, None)?.value, "{}");
                tx.insert(&key, Some("7"), None)
            })
            .unwrap();
    }
}

const INVALID: &str = "SecretOfTheLobster";

type Call = fn(&PostgresStore, &Key) -> Result<(), Error>;

const WRITES: [Call; 9] = [
    |store, key| store.set(key, INVALID, None),
    |store, key| store.set(key, INVALID, Some(Period::seconds(9))),
    |store, _| store.generate(Some(INVALID), None).map(drop),
    |store, _| store.insert(&Key::generate()?, Some(INVALID), None),
    |store, key| {
        store
            .update(key, None, &mut |_| Some(INVALID.to_owned()))
            .map(drop)
    },
    |store, key| {
        let changes = SessionFields::new(Some(INVALID), None);
        store.rotate_with(key, changes).map(drop)
    },
    |store, key| {
        let changes = SessionFields::new(Some(INVALID), None);
        store.rotate_to(key, &Key::generate()?, changes)
    },
    |store, key| store.transaction(|tx| tx.set(key, INVALID, None)),
    |store, _| store.transaction(|tx| tx.generate(Some(INVALID), None).map(drop)),
];

fn assert_is_refused(error: &Error) {
    assert_eq!(error.sqlstate().unwrap().code(), "22P02", "{error:?}");
    let text = format!("{error} {error:?} {error:#?}");
    assert!(!text.contains(INVALID), "{text}");
}

#[test]
fn invalid_json_is_refused_and_not_shown() {
    for value_type in TYPES {
        let (schema, store) = table(value_type);
        let key = store.generate(Some("{}"), None).unwrap();
        for write in WRITES {
            assert_is_refused(&write(&store, &key).unwrap_err());
            assert_eq!(store.get(&key).unwrap().value, "{}");
            assert_eq!(schema.count("true"), 1);
        }
    }
}

#[test]
fn invalid_json_fails_only_its_call_in_a_batch() {
    for value_type in TYPES {
        let (schema, store) = table(value_type);
        let values = ["1", INVALID, "2", "3"];
        let made = store.generate_many(&values.map(|value| SessionFields::new(Some(value), None)));
        assert_is_refused(made[1].as_ref().unwrap_err());
        assert_eq!(made.iter().filter(|key| key.is_ok()).count(), 3);
        assert_eq!(store.get(made[2].as_ref().unwrap()).unwrap().value, "2");

        let keys = [(); 4].map(|()| Key::generate().unwrap());
        let calls = [0, 1, 2, 3].map(|i| (&keys[i], Some(values[i]), None));
        let inserted = store.insert_many(&calls);
        assert_is_refused(inserted[1].as_ref().unwrap_err());
        assert_eq!(schema.count("true"), 6);
        store.insert(&keys[1], Some("{}"), None).unwrap();

        let calls = [0, 1, 2, 3].map(|i| (&keys[i], values[3 - i], None));
        let set = store.set_many(&calls);
        assert_is_refused(set[2].as_ref().unwrap_err());
        assert_eq!(set.iter().filter(|result| result.is_ok()).count(), 3);
        assert_eq!(store.get(&keys[0]).unwrap().value, "3");
        assert_eq!(store.get(&keys[2]).unwrap().value, "2");
        // Two calls for one session.
        let set = store.set_many(&[(&keys[0], INVALID, None), (&keys[0], "4", None)]);
        assert!(set[1].is_ok(), "{set:?}");
        assert_eq!(store.get(&keys[0]).unwrap().value, "4");
    }
}

/// The proof of a commit compares the stored value, which is not the text that was sent.
#[test]
fn an_update_that_is_cut_is_applied_once() {
    for value_type in TYPES {
        let (schema, store) = table(value_type);
        let key = store.generate(Some("{\"n\":0}"), None).unwrap();
        let proxy = Proxy::to(&schema.config());
        let pool = schema.pool_to(proxy.config(&schema.config()), 1);
        let store = schema.builder().value_type(value_type).from_pool(pool);
        let add = |value: Option<&str>| {
            let digits = value.unwrap().chars().filter(char::is_ascii_digit);
            let number: u32 = digits.collect::<String>().parse().unwrap();
            Some(format!("{{\"n\":{}}}", number + 1))
        };
        let cuts = [
            Break::BeforeText("BEGIN"),
            Break::AfterText("BEGIN"),
            Break::BeforeStatement,
            Break::AfterStatement,
            Break::BeforeText("COMMIT"),
            Break::AfterText("COMMIT"),
        ];
        for (done, cut) in cuts.into_iter().enumerate() {
            proxy.break_at(cut);
            let session = store.update(&key, None, &mut { add }).unwrap();
            assert!(proxy.has_broken());
            let number = done + 1;
            let expected = match value_type {
                ValueType::Jsonb => format!("{{\"n\": {number}}}"),
                _ => format!("{{\"n\":{number}}}"),
            };
            assert_eq!(session.value, expected);
            assert_eq!(store.get(&key).unwrap().value, expected);
        }
    }
}

#[test]
fn each_of_several_values_for_one_key_is_checked() {
    for value_type in TYPES {
        let (_schema, store) = table(value_type);
        let key = store.generate(Some("0"), None).unwrap();
        let other = store.generate(Some("0"), None).unwrap();
        let set = store.set_many(&[
            (&key, "1", None),
            (&other, "5", None),
            (&key, "not json", None),
            (&key, "2", None),
        ]);
        let done = set.iter().map(Result::is_ok).collect::<Vec<_>>();
        assert_eq!(done, [true, true, false, true], "{value_type:?}: {set:?}");
        assert_eq!(store.get(&key).unwrap().value, "2");
        assert_eq!(store.get(&other).unwrap().value, "5");
    }
}
