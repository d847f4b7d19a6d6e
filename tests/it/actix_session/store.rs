//! Creating, updating, loading and deleting sessions, and their expiry.

use actix_session::storage::{SessionStore, UpdateError};
use session_postgres::{
    MAX_PERIOD, MIN_PERIOD, MemoryStore, Offload, Period, actix_session::Adapter,
};

use super::{Fixture, HALF_AN_HOUR, state, to_key, wait};

fn assert_is_gone(updated: Result<String, UpdateError>) {
    let error = updated.unwrap_err();
    assert!(matches!(error, UpdateError::Other(_)), "{error:?}");
    assert!(
        format!("{error:?}").contains("no such session"),
        "{error:?}"
    );
}

#[test]
fn a_saved_session_is_loaded_with_its_state_and_gets_a_key_of_40_characters() {
    let on = Fixture::new();
    let key = on.saved("lobster");
    assert_eq!(key.len(), 40);
    assert_eq!(on.load(&key).unwrap(), Some(state("lobster")));
    assert!((1_780.0..=1_800.1).contains(&on.left(&key)));
    assert_ne!(on.saved("lobster"), key);
}

#[test]
fn an_update_replaces_the_state_and_the_expiry_and_keeps_the_key() {
    let on = Fixture::new();
    let key = on.saved("lobster");
    on.schema
        .run("UPDATE session SET expire_date = now() + interval '10 minutes'");
    assert_eq!(on.update(&key, state("crab")).unwrap(), key);
    assert_eq!(on.load(&key).unwrap(), Some(state("crab")));
    assert!((1_780.0..=1_800.1).contains(&on.left(&key)));
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn update_ttl_changes_the_expiry_and_not_the_state() {
    let on = Fixture::new();
    let key = on.saved("lobster");
    on.touch(&key, Period::HOUR).unwrap();
    assert_eq!(on.load(&key).unwrap(), Some(state("lobster")));
    assert!((3_580.0..=3_600.1).contains(&on.left(&key)));
}

#[test]
fn writing_an_absent_or_expired_session_is_an_error_and_creates_nothing() {
    let on = Fixture::new();
    let deleted = on.saved("deleted");
    on.delete(&deleted).unwrap();
    for key in [&deleted, &"x".repeat(40), &"x".repeat(64), "", "two words"] {
        assert_is_gone(on.update(key, state("crab")));
        assert!(on.touch(key, Period::HOUR).is_err());
        assert_eq!(on.load(key).unwrap(), None);
    }
    assert_eq!(on.schema.count("true"), 0);

    // The row of an expired session still exists.
    let expired = on.saved("expired");
    on.schema
        .run("UPDATE session SET expire_date = now() - interval '1 second'");
    assert_is_gone(on.update(&expired, state("crab")));
    assert!(on.touch(&expired, Period::HOUR).is_err());
    assert_eq!(on.load(&expired).unwrap(), None);
}

#[test]
fn deleting_an_absent_session_succeeds() {
    let on = Fixture::new();
    let (key, other) = (on.saved("lobster"), on.saved("crab"));
    for key in [&key, &key, &"x".repeat(64), "", "two words"] {
        on.delete(key).unwrap();
    }
    assert_eq!(on.load(&key).unwrap(), None);
    assert_eq!(on.load(&other).unwrap(), Some(state("crab")));
}

#[test]
fn any_time_to_live_is_accepted() {
    let on = Fixture::new();
    for (period, lives) in [
        (Period::MIN, false),
        (MIN_PERIOD, false),
        (Period::ZERO, false),
        (MAX_PERIOD, true),
        (Period::MAX, true),
    ] {
        let saved = wait(on.adapter.save(state("lobster"), &period)).unwrap();
        assert_eq!(
            wait(on.adapter.load(&saved)).unwrap().is_some(),
            lives,
            "{period}"
        );

        let key = on.saved("lobster");
        wait(on.adapter.update(to_key(&key), state("crab"), &period)).unwrap();
        assert_eq!(on.load(&key).unwrap().is_some(), lives, "{period}");

        let key = on.saved("lobster");
        on.touch(&key, period).unwrap();
        assert_eq!(on.load(&key).unwrap().is_some(), lives, "{period}");
    }
}

#[test]
fn an_adapter_works_with_a_facade_over_any_store() {
    let adapter = Adapter::new(Offload::new(MemoryStore::new()));
    wait(async {
        let key = adapter.save(state("lobster"), &HALF_AN_HOUR).await.unwrap();
        assert_eq!(adapter.load(&key).await.unwrap(), Some(state("lobster")));
        adapter.delete(&key).await.unwrap();
        assert_eq!(adapter.load(&key).await.unwrap(), None);
        let updated = adapter.update(key, state("crab"), &HALF_AN_HOUR).await;
        assert_is_gone(updated.map(String::from));
    });
}
