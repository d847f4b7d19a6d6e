//! A facade over PostgreSQL, and a server whose updates a test can hold.

use session_postgres::{Key, OffloadBuilder, PostgresStore, SessionFields, Store};

use crate::support::{PATIENCE, database::Schema, wait_until};

/// Returns a builder whose time limit is longer than a test takes.
pub(super) fn patient(schema: &Schema) -> OffloadBuilder {
    schema.store();
    OffloadBuilder::default().timeout(PATIENCE * 10)
}

/// Returns a store with four connections whose time limit is longer than a test takes.
pub(super) fn patient_store(schema: &Schema) -> PostgresStore {
    let builder = schema.builder().timeout(PATIENCE * 10);
    builder.from_pool(schema.pool(4))
}

/// Creates `count` sessions with the value `lobster`.
pub(super) fn keys(store: &PostgresStore, count: usize) -> Vec<Key> {
    let keys = store.generate_many(&vec![SessionFields::new(Some("lobster"), None); count]);
    keys.into_iter().map(Result::unwrap).collect()
}

/// Makes updates of sessions run until [`release_updates`] is called. They do not wait for a lock.
///
/// A change of a sequence is visible at once, also to a serializable transaction.
pub(super) fn hold_updates(schema: &Schema) {
    schema.run(
        "CREATE SEQUENCE gate;
         CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           WHILE (SELECT last_value FROM gate) = 1 LOOP PERFORM pg_sleep(0.01); END LOOP;
           RETURN NEW;
         END $$;
         CREATE TRIGGER pass BEFORE UPDATE ON session FOR EACH ROW EXECUTE FUNCTION pass()",
    );
}

pub(super) fn release_updates(schema: &Schema) {
    schema.run("SELECT setval('gate', 2)");
}

/// Waits until the server executes no statement of the facade.
pub(super) fn wait_for_server(schema: &Schema) {
    wait_until("the server is done", || schema.active() == 0);
}
