//! Random sequences of calls on a store, whose results must be those of a model.
//!
//! The model is the contract that [`Store`] documents. A sequence does not depend on how fast it runs:
//! periods are either over at once or long, and time passes in steps of hours.

mod contract;
mod owners;
mod run;
mod steps;

use std::cell::RefCell;

use proptest::{
    collection::vec,
    test_runner::{Config, TestCaseError, TestError, TestRunner, contextualize_config},
};
use session_postgres::{MemoryStore, ShardMap, Store, postgres::Client};

use self::{run::Run, steps::step};
use crate::support::{
    database::{OCAML_TABLE, Schema},
    sharded::{Schemas, map},
    transactions::InTransactions,
};

#[test]
fn a_pooled_store_follows_the_model() {
    let schema = Schema::new();
    check(&schema.store(), &mut [schema.client()], true);
}

#[test]
fn a_store_on_the_legacy_table_follows_the_model() {
    let schema = Schema::new();
    schema.run(OCAML_TABLE);
    let store = schema.builder().from_pool(schema.pool(1));
    check(&store, &mut [schema.client()], false);
}

#[test]
fn an_unprepared_store_follows_the_model() {
    let schema = Schema::new();
    let store = schema.builder().prepared(false).from_pool(schema.pool(1));
    store.create_table().unwrap();
    check(&store, &mut [schema.client()], true);
}

#[test]
fn a_store_of_hashed_keys_follows_the_model() {
    let schema = Schema::new();
    let store = schema.builder().hash_keys(true).from_pool(schema.pool(1));
    store.create_table().unwrap();
    check(&store, &mut [schema.client()], true);
}

#[test]
fn a_store_of_partitions_follows_the_model() {
    let schema = Schema::new();
    let store = schema.builder().partitions(3).from_pool(schema.pool(1));
    store.create_table().unwrap();
    check(&store, &mut [schema.client()], true);
}

#[test]
fn calls_in_transactions_follow_the_model() {
    let schema = Schema::new();
    let store = InTransactions(schema.store());
    check(&store, &mut [schema.client()], true);
}

#[test]
fn a_store_in_memory_follows_the_model() {
    check(&MemoryStore::new(), &mut [], true);
}

#[test]
fn a_store_on_three_servers_follows_the_model() {
    let schemas = Schemas::new();
    check_on(
        &schemas.blocking(1),
        &mut schemas.clients(),
        true,
        Some(&map()),
    );
}

#[test]
fn facades_for_three_servers_follow_the_model() {
    let schemas = Schemas::new();
    check_on(
        &schemas.facades(1),
        &mut schemas.clients(),
        true,
        Some(&map()),
    );
}

/// Runs random sequences on the store. `tables` has a connection to its table, if it has one. Without `has_owners`, the
/// table has no column for owners.
fn check(store: &dyn Store, tables: &mut [Client], has_owners: bool) {
    check_on(store, tables, has_owners, None);
}

/// Does the same for a store on the servers of a map.
fn check_on(store: &dyn Store, tables: &mut [Client], has_owners: bool, map: Option<&ShardMap>) {
    let config = contextualize_config(Config {
        cases: 96,
        failure_persistence: None,
        ..Config::default()
    });
    let tables = RefCell::new(tables);
    let outcome = TestRunner::new(config).run(&vec(step(has_owners), 1..40), |steps| {
        let mut tables = tables.borrow_mut();
        let mut run = Run::new(store, &mut tables, map, has_owners);
        for (place, step) in steps.iter().enumerate() {
            run.step(step)
                .map_err(|e| TestCaseError::fail(format!("step {place}: {e}")))?;
        }
        run.read_everything().map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => panic!("{reason}\nof these steps: {steps:#?}"),
        Err(aborted) => panic!("{aborted}"),
    }
}
