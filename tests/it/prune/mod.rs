//! Rows of expired sessions, removed by call and in the background.

mod concurrent_changes;
mod expired_rows;
mod pace;
mod pruner;
mod undeletable_rows;

use std::time::Duration;

use session_postgres::{Pruner, PrunerBuilder};

use crate::support::database::Schema;

/// So many rows that have expired.
fn fill(schema: &Schema, rows: u64) {
    schema.run(&format!(
        "INSERT INTO session \
         SELECT 'expired' || i, now() - interval '1 hour', repeat('x', 200) \
         FROM generate_series(1, {rows}) AS i"
    ));
}

/// So many rows that have not.
fn fill_with_living(schema: &Schema, rows: u64) {
    schema.run(&format!(
        "INSERT INTO session SELECT gen_random_uuid()::text, now() + interval '1 day', \
         repeat('x', 200) FROM generate_series(1, {rows})"
    ));
}

/// A pruner that does not rest for long between its passes.
fn often() -> PrunerBuilder {
    Pruner::builder().interval(Duration::from_millis(10))
}

/// Has each statement that removes rows take a while.
fn slow_down(schema: &Schema) {
    schema.run(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_sleep(0.05); RETURN NULL; \
         END $$; \
         CREATE TRIGGER slow BEFORE DELETE ON session EXECUTE FUNCTION slow()",
    );
}
