//! The owners of sessions.

use std::collections::HashMap;

use actix_session::storage::{SaveError, SessionStore};
use session_postgres::{AsyncStore, actix_session::Adapter};

use super::{Fixture, HALF_AN_HOUR, SECRET, State, wait};

fn of(user: &str) -> State {
    HashMap::from([("user".to_owned(), user.to_owned())])
}

#[test]
fn a_text_or_a_number_in_the_entry_becomes_the_owner() {
    let on = Fixture::new();
    let adapter = Adapter::new(on.store.clone()).with_owner("user");
    for (entry, owner) in [
        ("\"Ada \\\"A\\\"\"", "Ada \"A\""),
        ("42", "42"),
        ("-1.5", "-1.5"),
    ] {
        wait(async {
            adapter.save(of(entry), &HALF_AN_HOUR).await.unwrap();
            assert_eq!(on.store.owned(owner).await.unwrap().len(), 1, "{owner}");
        });
    }
}

#[test]
fn a_session_without_the_entry_has_no_owner() {
    let on = Fixture::new();
    let adapter = Adapter::new(on.store.clone()).with_owner("user");
    wait(adapter.save(of("null"), &HALF_AN_HOUR)).unwrap();
    wait(adapter.save(super::state("lobster"), &HALF_AN_HOUR)).unwrap();
    on.save(of("\"Ada\"")).unwrap();
    assert_eq!(on.schema.count("owner IS NULL"), 3);
}

#[test]
fn a_session_whose_owner_cannot_be_stored_is_not_created() {
    let on = Fixture::new();
    let adapter = Adapter::new(on.store.clone()).with_owner("user");
    let list = format!("[\"{SECRET}\"]");
    let long = format!("\"{}\"", SECRET.repeat(20));
    for entry in [&list, &long, "true", "{}", "\"\"", "\"\\u0000\"", SECRET] {
        let error = wait(adapter.save(of(entry), &HALF_AN_HOUR)).unwrap_err();
        assert!(matches!(error, SaveError::Serialization(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
    assert_eq!(on.schema.count("true"), 0);
}
