//! Statements for the sessions of an owner.

use postgres::types::Type;

use super::Template;

/// Parameters: key, owner.
pub(in crate::pg) const SET_OWNER: &[Type] = &[Type::VARCHAR, Type::TEXT];

/// Returns the rows that [`GET`](super::GET) returns, and the handles. Parameters: owner.
pub(in crate::pg) const OWNED: Template = (
    "SELECT sp__row.sp__value, sp__row.sp__expires, clock_timestamp(), sp__row.sp__created, sp__row.sp__handle \
     FROM {no_created} CROSS JOIN LATERAL ( \
         SELECT {read} AS sp__value, {expires} AS sp__expires, {created} AS sp__created, {handle} AS sp__handle \
         FROM {table} AS session \
         WHERE session.{owner} {=} $1 AND {expires} > clock_timestamp() \
     ) AS sp__row \
     ORDER BY sp__row.sp__created DESC NULLS LAST",
    &[Type::TEXT],
);

/// Removes rows of an owner. Returns how many of them had not expired. Parameters: owner, and what `{and}` needs.
pub(in crate::pg) const CLEAR_OWNED: &str = "WITH sp__removed AS ( \
         DELETE FROM {table} AS session WHERE session.{owner} {=} $1 {and} \
         RETURNING {expires} > clock_timestamp() AS sp__lived \
     ) \
     SELECT count(*) FROM sp__removed WHERE sp__lived";

/// The condition `{and}` that leaves out the session with a key. Parameters: owner, key or NULL.
pub(in crate::pg) const EXCEPT_KEY: (&str, &[Type]) = (
    "AND ($2 IS NULL OR session.{key} {<>} $2)",
    &[Type::TEXT, Type::VARCHAR],
);

/// The condition `{and}` that selects the session with a handle. Parameters: owner, handle.
pub(in crate::pg) const WITH_HANDLE: (&str, &[Type]) =
    ("AND {handle} {=} $2", &[Type::TEXT, Type::TEXT]);
