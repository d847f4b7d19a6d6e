//! Statements for one session.

use postgres::types::Type;

use super::Template;

/// Parameters: key.
pub(in crate::pg) const GET: Template = (
    "SELECT sp__row.sp__value, sp__row.sp__expires, clock_timestamp(), sp__row.sp__created \
     FROM {no_created} CROSS JOIN LATERAL ( \
         SELECT {read} AS sp__value, {expires} AS sp__expires, {created} AS sp__created \
         FROM {table} AS session \
         WHERE session.{key} {=} $1 AND {expires} > clock_timestamp() \
     ) AS sp__row",
    &[Type::VARCHAR],
);

/// Parameters: key, microseconds, value, and the owner if `{owner_column}` sets it.
pub(in crate::pg) const GENERATE: &str = "INSERT INTO {table} ({key}, {expiry}, {value} {owner_column}) \
     VALUES ($1, clock_timestamp() + $2::float8 * interval '1 microsecond', $3{cast} {owner_parameter}) RETURNING 1";

/// Brief. Parameters: key, microseconds, and the value if `{set}` sets it.
pub(in crate::pg) const UPDATE: &str = "UPDATE {table} AS session \
     SET {expiry} = clock_timestamp() + $2::float8 * interval '1 microsecond' {set} \
     WHERE session.{key} {=} $1 AND {expires} > clock_timestamp() + interval '10 seconds' AND {brief}";

/// Brief. Parameters: key.
pub(in crate::pg) const CLEAR: &str =
    "DELETE FROM {table} AS session WHERE session.{key} {=} $1 AND {brief}";

/// Careful. Changes the columns that `{set}` names. `{lock}` is the lock that this needs.
///
/// The locked rows have the key $1. The second comparison with $1 is only for the planner: the server leaves out the other
/// partitions of a table for a comparison with a parameter, but not for one with an array of a subquery.
pub(in crate::pg) const CHANGE: &str = "WITH sp__locked AS MATERIALIZED ( \
         SELECT session.{key} AS sp__key, {expires} AS sp__expires FROM {table} AS session \
         WHERE session.{key} {=} $1 FOR {lock} \
     ) \
     UPDATE {table} AS session SET {set} \
     WHERE session.{key} {=} $1 AND session.{key} {=} ANY (ARRAY( \
         SELECT sp__key FROM sp__locked WHERE sp__expires > clock_timestamp() \
     )) \
     AND {expires} > now() {and} \
     RETURNING 1";

/// The parameters of [`CHANGE`] for a rotation: those of a call, and the new key.
pub(in crate::pg) const ROTATE: &[Type] = &[
    Type::VARCHAR,
    Type::INT8,
    Type::TEXT,
    Type::TEXT,
    Type::VARCHAR,
];

/// What [`CHANGE`] sets for a rotation: the new key, and each of the others if it is changed.
pub(in crate::pg) const ROTATE_SETS: [&str; 4] = [
    "{key} = $5",
    "{expiry} = clock_timestamp() + $2::float8 * interval '1 microsecond'",
    "{value} = $3{cast}",
    "{owner} = $4",
];

/// The condition `{and}` of a rotation: no session has the new key, also without a unique index.
pub(in crate::pg) const NEW_KEY_IS_FREE: &str = "AND NOT EXISTS ( \
         SELECT FROM {table} AS session WHERE session.{key} {=} $5 AND {expires} > clock_timestamp() OFFSET 0 \
     )";

/// Removes the rows of a key that has no living session. Parameters: key.
pub(in crate::pg) const REMOVE_EXPIRED: Template = (
    "DELETE FROM {table} AS session \
     WHERE session.{key} {=} $1 AND ({expires} > clock_timestamp()) IS NOT TRUE",
    &[Type::VARCHAR],
);

/// Locks a row and reads it as [`GET`] does. Also returns the number of the transaction. Parameters: key.
pub(in crate::pg) const LOCK: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT sp__row.* FROM {no_created} CROSS JOIN LATERAL ( \
             SELECT {read} AS sp__value, {expires} AS sp__expires, {created} AS sp__created \
             FROM {table} AS session WHERE session.{key} {=} $1 FOR NO KEY UPDATE \
         ) AS sp__row \
     ) \
     SELECT sp__value, sp__expires, clock_timestamp(), sp__created, txid_current() FROM sp__locked \
     WHERE sp__expires > clock_timestamp()",
    &[Type::VARCHAR],
);

/// Writes a row that this transaction has locked. Returns the stored value and expiry date for [`STORED`].
/// Parameters: key, microseconds, value.
pub(in crate::pg) const SET_LOCKED: &str = "UPDATE {table} AS session \
     SET {expiry} = clock_timestamp() + $2::float8 * interval '1 microsecond', {value} = $3{cast} \
     WHERE session.{key} {=} $1 AND {expires} > clock_timestamp() \
     RETURNING {read}, {expires}, clock_timestamp(), session.{expiry}";

/// The parameters of [`SET_LOCKED`].
pub(in crate::pg) const SET_LOCKED_TYPES: &[Type] = &[Type::VARCHAR, Type::INT8, Type::TEXT];

/// Returns the status of a transaction. Parameters: its number.
pub(in crate::pg) const TRANSACTION_STATUS: Template = ("SELECT txid_status($1)", &[Type::INT8]);

/// Returns all rows of a key, also expired ones. Parameters: key.
pub(in crate::pg) const STORED: Template = (
    "SELECT {read}, session.{expiry} FROM {table} AS session WHERE session.{key} {=} $1",
    &[Type::VARCHAR],
);

/// Returns whether a trigger or a rule is executed instead of or before an insert. Parameters: the quoted name.
pub(in crate::pg) const INSERT_IS_DIVERTED: Template = (
    "SELECT EXISTS ( \
         SELECT FROM pg_trigger \
         WHERE tgrelid = $1::regclass::oid AND tgtype & 7::int2 = 7::int2 AND NOT tgisinternal \
     ) OR EXISTS ( \
         SELECT FROM pg_rewrite WHERE ev_class = $1::regclass::oid AND ev_type = '3'::\"char\" \
     )",
    &[Type::TEXT],
);
