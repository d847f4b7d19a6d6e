//! The state of a session, and how it is stored in a row.

use std::collections::HashMap;

use actix_session::storage::{LoadError, SaveError, UpdateError};
use proptest::prelude::*;
use session_postgres::{Key, Store};

use super::{Fixture, SECRET, State, state};
use crate::support::rows::NOT_OBJECTS;

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Generates JSON texts that a `Value` of serde_json could not hold without a change, too.
fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<u128>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| serde_json::to_string(&number).unwrap()),
        (1..=126usize).prop_map(nested),
        Just("{\"b\": 1.00, \"a\": null}".to_owned()),
        Just("true".to_owned()),
    ]
}

#[test]
fn any_state_is_loaded_as_it_was_saved() {
    let on = Fixture::new();
    let all = prop::collection::hash_map(any::<String>(), json(), 0..20);
    proptest!(ProptestConfig::with_cases(128), |(state in all)| {
        let key = on.save(state.clone()).unwrap();
        prop_assert_eq!(on.load(&key).unwrap(), Some(state));
    });
}

#[test]
fn an_entry_that_could_not_be_read_is_rejected() {
    let on = Fixture::new();
    let deepest = State::from([("text".to_owned(), nested(126))]);
    let key = on.save(deepest.clone()).unwrap();
    let value = on.schema.store().get(&key.parse().unwrap()).unwrap().value;
    serde_json::from_str::<serde_json::Value>(&value).unwrap();

    for entry in [&nested(127), &nested(100_000), "1e999", "\"\\ud800\""] {
        let state = State::from([("text".to_owned(), entry.to_owned())]);
        let saved = on.save(state.clone()).unwrap_err();
        assert!(matches!(saved, SaveError::Serialization(_)), "{saved:?}");
        let updated = on.update(&key, state).unwrap_err();
        assert!(
            matches!(updated, UpdateError::Serialization(_)),
            "{updated:?}"
        );
    }
    assert_eq!(on.load(&key).unwrap(), Some(deepest));
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn a_deeper_entry_of_another_program_is_loaded_and_not_updated() {
    let on = Fixture::new();
    let value = format!(r#"{{"deep":{}}}"#, nested(127));
    let key = on.schema.store().generate(Some(&value), None).unwrap();
    let mut state = on.load(key.as_str()).unwrap().unwrap();
    assert!(on.update(key.as_str(), state.clone()).is_err());
    state.remove("deep");
    on.update(key.as_str(), state).unwrap();
}

#[test]
fn a_row_contains_the_state_as_json_and_can_be_changed_by_other_programs() {
    let on = Fixture::new();
    let store = on.schema.store();
    let text = on.saved("lobster");
    let key: Key = text.parse().unwrap();
    assert_eq!(store.get(&key).unwrap().value, r#"{"text":"lobster"}"#);
    store
        .set(&key, r#"{"text": "crab", "n": 1}"#, None)
        .unwrap();
    let mut expected = state("crab");
    expected.insert("n".to_owned(), "1".to_owned());
    assert_eq!(on.load(&text).unwrap(), Some(expected));
}

#[test]
fn a_row_without_a_json_object_is_an_error_that_does_not_quote_it() {
    let on = Fixture::new();
    let store = on.schema.store();
    for value in NOT_OBJECTS {
        let key = store.generate(value, None).unwrap();
        let error = on.load(key.as_str()).unwrap_err();
        assert!(matches!(error, LoadError::Deserialization(_)), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains(SECRET) && !text.contains(key.as_str()),
            "{text}"
        );
    }
}

#[test]
fn an_entry_that_is_not_json_is_an_error_that_does_not_quote_it() {
    let on = Fixture::new();
    let key = on.saved("lobster");
    for entry in [
        "",
        SECRET,
        "1,\"SecretOfTheLobster\":2",
        "\"SecretOfTheLobster",
    ] {
        let state: State = HashMap::from([("text".to_owned(), entry.to_owned())]);
        let saved = on.save(state.clone()).unwrap_err();
        assert!(matches!(saved, SaveError::Serialization(_)), "{saved:?}");
        let updated = on.update(&key, state).unwrap_err();
        assert!(
            matches!(updated, UpdateError::Serialization(_)),
            "{updated:?}"
        );
        let text = format!("{saved} {saved:?} {updated} {updated:?}");
        assert!(!text.contains(SECRET), "{text}");
    }
    assert_eq!(on.load(&key).unwrap(), Some(state("lobster")));
    assert_eq!(on.schema.count("true"), 1);
}
