//! Whether all statements reach the same database.

use std::{collections::BTreeSet, time::Duration};

use crate::pg::{
    PostgresStore,
    connection::{Connection, StatementError},
};

/// How often one connection is asked. A pooler gives the statements of other clients their turn, too.
const QUESTIONS: usize = 8;

/// The most connections that are asked.
const MAX_CONNECTIONS: usize = 4;

/// The longest wait for another connection. If others use all, fewer are asked.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// Parameters: one that is not used.
const MAY_ASK: &str =
    "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')";

/// The database. A primary and its standbys have the same identifier. PgDog sends a statement without FROM to one server
/// after the other. Parameters: one that is not used.
const DATABASE: &str = "SELECT (pg_catalog.pg_control_system()).system_identifier::text, \
     pg_catalog.current_database()::text";

impl PostgresStore {
    /// Asks several times on this connection, because a pooler can distribute the statements of one, and on some others,
    /// because a load balancer distributes connections.
    pub(super) fn server_problems(
        &self,
        connection: &mut Connection<'_>,
    ) -> Result<Vec<String>, StatementError> {
        if !connection.catalog_says(MAY_ASK)? {
            return Ok(Vec::new());
        }
        let mut databases = BTreeSet::new();
        for _ in 0..QUESTIONS {
            databases.extend(database(connection)?);
        }
        let deadline = connection.deadline();
        let others = self.source.max_connections().get().min(MAX_CONNECTIONS) - 1;
        // They are kept until the end, so that each is another one.
        let mut asked = Vec::new();
        for _ in 0..others {
            let Ok(checked_out) = self.source.checkout(MAX_WAIT.min(deadline.remaining())) else {
                break;
            };
            let mut other = Connection::new(self, checked_out, deadline, None);
            // If it is broken, the next user of the connection notices that.
            databases.extend(database(&mut other).unwrap_or_default());
            other.clean_up();
            asked.push(other);
        }
        if databases.len() < 2 {
            return Ok(Vec::new());
        }
        let found = databases.into_iter().collect::<Vec<_>>().join(", ");
        Ok(vec![format!(
            "statements reach different databases ({found}), so the session of one call is missing for another: connect \
             to one server, without a pooler or load balancer that distributes statements"
        )])
    }
}

fn database(connection: &mut Connection<'_>) -> Result<Vec<String>, StatementError> {
    let describe = |row: &postgres::Row| {
        let (system, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        Ok(format!("{name} of system {system}"))
    };
    let rows = connection.query_catalog(DATABASE)?;
    rows.iter().map(describe).collect()
}
