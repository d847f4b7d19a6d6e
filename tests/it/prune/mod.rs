//! Pruning: removing the rows of expired sessions, by a call or in the background.

mod concurrent_changes;
mod expired_rows;
mod pace;
mod pruner;
mod undeletable_rows;

use std::time::Duration;

use session_postgres::{Pruner, PrunerBuilder};

use crate::support::database::Schema;

/// Adds rows of expired sessions.
fn fill(schema: &Schema, rows: u64) {
    schema.run(&format!(
        "INSERT INTO session \
         SELECT 'expired' || i, now() - interval '1 hour', repeat('x', 200) \
         FROM generate_series(1, {rows}) AS i"
    ));
}

/// Adds rows of sessions that have not expired.
fn fill_with_living(schema: &Schema, rows: u64) {
    schema.run(&format!(
        "INSERT INTO session SELECT gen_random_uuid()::text, now() + interval '1 day', \
         repeat('x', 200) FROM generate_series(1, {rows})"
    ));
}

/// A pruner with a short interval.
fn often() -> PrunerBuilder {
    Pruner::builder().interval(Duration::from_millis(10))
}

/// Makes each statement that removes rows take 50 ms longer.
fn slow_down(schema: &Schema) {
    schema.run(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_sleep(0.05); RETURN NULL; \
         END $$; \
         CREATE TRIGGER slow BEFORE DELETE ON session EXECUTE FUNCTION slow()",
    );
}
