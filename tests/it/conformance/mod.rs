//! Rules that every backend must follow.
//!
//! A rule is a function that takes any store. The macro `rules!` makes it a test of every backend. After
//! `owners and ages:` it leaves out the table that has no columns for these. The rules of some backends are one test for
//! each file, because it takes long to create a table for each rule.

macro_rules! rules {
    (owners and ages: $($rule:ident)*) => {
        rules!(memory: $($rule)*);
        rules!(pooled: $($rule)*);
        rules!(other_names: $($rule)*);
        rules!(offloaded_memory: $($rule)*);
        rules!(offloaded: $($rule)*);
        rules!(in one test: single_client: $($rule)*);
        rules!(in one test: unprepared: $($rule)*);
        rules!(in one test: hashed: $($rule)*);
        rules!(in one test: partitioned: $($rule)*);
        rules!(in one test: wrapped: $($rule)*);
        rules!(in one test: in_transactions: $($rule)*);
        rules!(in one test: offloaded_one_by_one: $($rule)*);
        rules!(in one test: sharded: $($rule)*);
        rules!(in one test: sharded_facades: $($rule)*);
    };
    (in one test: $backend:ident: $($rule:ident)*) => {
        mod $backend {
            #[test]
            fn all_rules_hold() {
                let mut backend = crate::support::backends::$backend();
                $(
                    backend.empty();
                    super::$rule(&*backend.store);
                )*
            }
        }
    };
    ($backend:ident: $($rule:ident)*) => {
        mod $backend {
            $(#[test]
            fn $rule() {
                super::$rule(&*crate::support::backends::$backend().store);
            })*
        }
    };
    ($($rule:ident)*) => {
        rules!(owners and ages: $($rule)*);
        rules!(legacy_table: $($rule)*);
    };
}

mod age;
mod clear_owned;
mod expiry;
mod find;
mod handles;
mod keys_and_values;
mod many;
mod missing_columns;
mod owners;
mod prune;
mod renew;
mod rotate;
mod sharing;
mod update;
mod verbs;

use session_postgres::{Error, Key, Period, SessionFields, Store};

const HOUR: Option<Period> = Some(Period::HOUR);
const ZERO: Option<Period> = Some(Period::ZERO);

#[expect(
    clippy::needless_pass_by_value,
    reason = "so that a call can be its argument"
)]
fn is_not_found<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::NotFound))
}

fn value(store: &dyn Store, key: &Key) -> String {
    store.get(key).unwrap().value
}

/// A new session of this owner, without a value.
fn owned_by(store: &dyn Store, owner: &str) -> Key {
    store.generate_with(of(owner)).unwrap()
}

/// The fields of a session that has only an owner.
fn of(owner: &str) -> SessionFields<'_> {
    SessionFields {
        owner: Some(owner),
        ..SessionFields::default()
    }
}

/// The handles of the sessions of this owner, sorted.
fn handles(store: &dyn Store, owner: &str) -> Vec<String> {
    let owned = store.owned(owner).unwrap();
    let mut handles: Vec<_> = owned.into_iter().map(|session| session.handle).collect();
    handles.sort();
    handles
}

/// Whether these and no others are the sessions of this owner.
fn has_exactly(store: &dyn Store, owner: &str, keys: &[&Key]) -> bool {
    let mut expected: Vec<_> = keys.iter().map(|key| key.handle()).collect();
    expected.sort();
    handles(store, owner) == expected
}

/// A new key on the server of this one.
fn beside(store: &dyn Store, key: &Key) -> Key {
    store.new_key(Some(key)).unwrap()
}

fn is_about(period: Period, expected: Period) -> bool {
    // The table rounds to hundredths of a second, and a slow machine takes longer.
    period <= expected + Period::milliseconds(5) && period > expected - Period::MINUTE
}
