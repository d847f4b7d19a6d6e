//! Rules that every backend must follow.
//!
//! A rule is a function that takes any store. The macro `rules!` makes it a test of every backend.

macro_rules! rules {
    ($($rule:ident)*) => {
        rules!(memory: $($rule)*);
        rules!(pooled: $($rule)*);
        rules!(single_client: $($rule)*);
        rules!(legacy_table: $($rule)*);
        rules!(unprepared: $($rule)*);
        rules!(offloaded_memory: $($rule)*);
        rules!(offloaded: $($rule)*);
        rules!(offloaded_one_by_one: $($rule)*);
    };
    ($backend:ident: $($rule:ident)*) => {
        mod $backend {
            $(#[test]
            fn $rule() {
                super::$rule(&*crate::support::backends::$backend().store);
            })*
        }
    };
}

mod expiry;
mod keys_and_values;
mod many;
mod sharing;
mod update;
mod verbs;

use session_postgres::{Error, Key, Period, Store};

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

fn is_about(period: Period, expected: Period) -> bool {
    // The table rounds to hundredths of a second, and a slow machine takes longer.
    period <= expected + Period::milliseconds(5) && period > expected - Period::MINUTE
}
