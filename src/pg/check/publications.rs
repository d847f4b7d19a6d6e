//! Publications that the server cannot replicate the store's statements with.

use postgres::error::SqlState;

use crate::pg::{
    connection::{Connection, StatementError},
    names::Names,
};

/// Statements that the server plans and does not execute. It refuses them as it would refuse the store's own, if a
/// publication of the table or of one of its partitions does not allow them.
const PLANS: [(&str, &str); 2] = [
    ("UPDATE", "EXPLAIN UPDATE {table} SET {value} = NULL"),
    ("DELETE", "EXPLAIN DELETE FROM {table}"),
];

/// The class of SQLSTATEs that concern names, types and privileges.
const SYNTAX_OR_ACCESS: &str = "42";

pub(super) fn problems(
    connection: &mut Connection<'_>,
    names: &Names,
) -> Result<Vec<String>, StatementError> {
    let mut problems = Vec::new();
    for (verb, plan) in PLANS {
        let error = match connection.execute(&names.fill(plan)) {
            Ok(()) => continue,
            Err(StatementError::Driver(error)) => error,
            Err(error) => return Err(error),
        };
        problems.push(match error.code() {
            Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => format!(
                "it is published without a replica identity, so the server refuses {verb}: add a \
                 primary key, or set REPLICA IDENTITY FULL"
            ),
            Some(&SqlState::INVALID_COLUMN_REFERENCE) => format!(
                "the column list or the row filter of a publication does not fit its replica identity, so \
                 the server refuses {verb}: remove it from the publication"
            ),
            // Unsuitable columns and missing privileges are reported elsewhere.
            Some(code) if code.code().starts_with(SYNTAX_OR_ACCESS) => continue,
            _ => return Err(error.into()),
        });
    }
    Ok(problems)
}
