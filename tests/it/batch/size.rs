//! Batches with large values.

use session_postgres::Store;

use super::{counted, generated, statements};
use crate::support::database::Schema;

#[test]
fn values_of_many_megabytes_are_written_and_read() {
    let schema = Schema::new();
    let store = schema.store();
    let keys = generated(&store, 5);
    let large = "0123456789abcdef".repeat(1 << 19);
    let values: Vec<_> = (0..5).map(|i| format!("{i}{large}")).collect();
    let calls: Vec<_> = keys
        .iter()
        .zip(&values)
        .map(|(key, v)| (key, v.as_str(), None))
        .collect();
    assert!(store.set_many(&calls).iter().all(Result::is_ok));
    for (found, value) in store
        .get_many(&keys.iter().collect::<Vec<_>>())
        .into_iter()
        .zip(&values)
    {
        assert!(found.unwrap().value == *value);
    }
}

#[test]
fn a_statement_contains_at_most_16_mib_of_values() {
    let schema = Schema::new();
    let keys = generated(&schema.store(), 5);
    let (proxy, store) = counted(&schema, "");
    let value = "v".repeat(6 << 20);
    let calls: Vec<_> = keys.iter().map(|key| (key, value.as_str(), None)).collect();
    statements(&proxy);
    assert!(store.set_many(&calls).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 3);

    // Reads are split only once the store has seen how large the values are.
    let keys: Vec<_> = keys.iter().collect();
    assert!(store.get_many(&keys).iter().all(Result::is_ok));
    statements(&proxy);
    assert!(store.get_many(&keys).iter().all(Result::is_ok));
    assert_eq!(statements(&proxy), 3);
}
