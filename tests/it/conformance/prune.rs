//! The rules of `prune` and `prune_pass`.

use session_postgres::{Period, Store};

use super::{ZERO, is_not_found, value};
use crate::support::wait_until;

rules! {
    pruning_removes_expired_sessions_and_keeps_the_others
    pruning_removes_at_most_as_many_as_the_limit
    pruning_an_empty_store_removes_nothing
    a_pass_reports_what_it_has_removed
    a_session_that_was_pruned_can_be_inserted_again
}

fn generate(store: &dyn Store, count: usize, expiry: Option<Period>) {
    for _ in 0..count {
        store.generate(Some("over"), expiry).unwrap();
    }
}

fn pruning_removes_expired_sessions_and_keeps_the_others(store: &dyn Store) {
    generate(store, 3, ZERO);
    let kept = store.generate(Some("lobster"), None).unwrap();
    let unset = store.generate(None, None).unwrap();
    generate(store, 2, Some(Period::seconds(-3600)));
    let soon = Some(Period::milliseconds(30));
    let expiring = store.generate(Some("over"), soon).unwrap();
    wait_until("the session to expire", || {
        is_not_found(store.get(&expiring))
    });
    assert_eq!(store.prune(u64::MAX).unwrap(), 6);
    assert_eq!(store.prune(u64::MAX).unwrap(), 0);
    assert_eq!(value(store, &kept), "lobster");
    assert!(store.touch(&unset, None).is_ok());
}

fn pruning_removes_at_most_as_many_as_the_limit(store: &dyn Store) {
    generate(store, 10, ZERO);
    for (limit, removed) in [(0, 0), (1, 1), (4, 4), (5, 5), (1, 0)] {
        assert_eq!(store.prune(limit).unwrap(), removed);
    }
}

fn pruning_an_empty_store_removes_nothing(store: &dyn Store) {
    assert_eq!(store.prune(100).unwrap(), 0);
    store.generate(Some("lobster"), None).unwrap();
    assert_eq!(store.prune(100).unwrap(), 0);
}

fn a_pass_reports_what_it_has_removed(store: &dyn Store) {
    generate(store, 3, ZERO);
    let pass = store.prune_pass(2);
    assert_eq!(pass.removed, 2);
    assert!(pass.error.is_none());
    let pass = store.prune_pass(2);
    assert_eq!(pass.removed, 1);
    assert!(pass.error.is_none());
}

fn a_session_that_was_pruned_can_be_inserted_again(store: &dyn Store) {
    let key = store.generate(Some("over"), ZERO).unwrap();
    assert_eq!(store.prune(1).unwrap(), 1);
    assert!(is_not_found(store.get(&key)));
    store.insert(&key, Some("lobster"), None).unwrap();
    assert_eq!(store.prune(1).unwrap(), 0);
    assert_eq!(value(store, &key), "lobster");
}
