//! The data of records, and how it is stored in a row.

use super::super::tower_sessions::session_store::Error;
use proptest::prelude::*;
use serde_json::{Value, json};
use session_postgres::{Period, Store};

use super::{
    super::{Fixture, is_in, record},
    SECRET, key,
};
use crate::support::rows::NOT_OBJECTS;

/// Generates any JSON value.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn any_data_is_loaded_as_it_was_stored() {
    let on = Fixture::new();
    let all = prop::collection::hash_map(any::<String>(), value(), 0..20);
    proptest!(ProptestConfig::with_cases(256), |(data in all)| {
        let mut record = record("");
        record.data = data.clone();
        on.create(&mut record).unwrap();
        prop_assert_eq!(on.load(&record.id).unwrap().unwrap().data, data);
    });
}

#[test]
fn data_that_could_not_be_loaded_is_rejected() {
    let on = Fixture::new();
    let nested = |levels: usize| {
        (0..levels).fold(json!(SECRET), |inner, level| match level % 2 {
            0 => json!([inner]),
            _ => json!({ "inner": inner }),
        })
    };
    let mut record = record("");
    record.data.insert("deep".to_owned(), nested(126));
    on.create(&mut record).unwrap();
    assert_eq!(on.load(&record.id).unwrap().unwrap().data, record.data);

    record.data.insert("deep".to_owned(), nested(127));
    for rejected in [on.create(&mut record.clone()), on.save(&record)] {
        let error = rejected.unwrap_err();
        assert!(matches!(error, Error::Encode(_)), "{error:?}");
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
    assert!(on.load(&record.id).unwrap().is_some());
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn a_row_without_valid_json_is_a_decode_error_that_does_not_quote_it() {
    let on = Fixture::new();
    let store = on.schema.store();
    for value in NOT_OBJECTS {
        let record = record("");
        store.insert(&key(&record), value, None).unwrap();
        let error = on.load(&record.id).unwrap_err();
        assert!(matches!(error, Error::Decode(_)), "{value:?}: {error:?}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains(SECRET), "{text}");
        assert!(!text.contains(&record.id.to_string()), "{text}");
    }
}

#[test]
fn a_row_contains_the_data_as_json_and_can_be_changed_by_other_programs() {
    let on = Fixture::new();
    let store = on.schema.store();
    let record = on.created("lobster");
    let session = store.get(&key(&record)).unwrap();
    assert_eq!(session.value, r#"{"text":"lobster"}"#);
    store
        .set(&key(&record), r#"{"text": "crab", "n": 1}"#, None)
        .unwrap();
    let loaded = on.load(&record.id).unwrap().unwrap();
    assert_eq!(loaded.data["text"], "crab");
    assert!(is_in(loaded.expiry_date, Period::WEEK));
}
