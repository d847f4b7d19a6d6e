//! Whether it is an ordinary or partitioned table of this server.

use crate::pg::connection::{Connection, StatementError};

/// The table and its partitions, except for those that are ordinary or partitioned tables. Fails if the table is
/// missing. Parameters: the quoted name.
const NOT_TABLES: &str = "WITH RECURSIVE sp__part (oid) AS ( \
         SELECT $1::text::regclass::oid \
         UNION SELECT inhrelid FROM pg_catalog.pg_inherits JOIN sp__part ON inhparent = sp__part.oid \
     ) \
     SELECT sp__part.oid = $1::text::regclass::oid, sp__part.oid::regclass::text, \
            CASE relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' \
                         WHEN 'f' THEN 'a foreign table' ELSE 'another kind of relation' END \
     FROM sp__part JOIN pg_catalog.pg_class ON pg_class.oid = sp__part.oid \
     WHERE relkind <> 'r' AND relkind <> 'p' ORDER BY 2";

/// Whether the database has Citus. Parameters: one that is not used.
const HAS_CITUS: &str = "SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL";

/// Whether the table is distributed by Citus. Fails without Citus. Parameters: the quoted name.
const IS_DISTRIBUTED: &str = "SELECT EXISTS ( \
         SELECT FROM pg_catalog.pg_dist_partition \
         WHERE logicalrelid::oid = $1::text::regclass::oid \
     )";

/// Returns whether it is a table, and its problems.
pub(super) fn problems(
    connection: &mut Connection<'_>,
) -> Result<(bool, Vec<String>), StatementError> {
    let mut problems = Vec::new();
    for row in connection.query_catalog(NOT_TABLES)? {
        let (is_itself, name, kind): (bool, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if is_itself {
            return Ok((false, vec![format!("it is {kind}, but must be a table")]));
        }
        problems.push(format!(
            "its partition {name} is {kind}, but must be a table of this server, because sessions can be lost \
             there without an error"
        ));
    }
    if connection.catalog_says(HAS_CITUS)? && connection.catalog_says(IS_DISTRIBUTED)? {
        problems.push(
            "it is distributed by Citus, but must be a local table, because Citus refuses the store's statements"
                .to_owned(),
        );
    }
    Ok((true, problems))
}
