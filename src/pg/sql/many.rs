//! Statements for many sessions.
//!
//! They take arrays, and identify a call by its place in them, counted from 1. A key is never read back, because
//! `char(40)` pads it with blanks.
//!
//! An array is `(SELECT $1)` and not `$1`, so that the planner does not know its length. Otherwise it estimates fewer rows
//! for an array of up to eight elements than for one of unknown length, and never uses a generic plan: it plans the
//! statement for each call, which takes several times as long as the execution.
//!
//! Rows are locked in the order of the arrays. In all batches that is the order of the keys, so that two batches
//! do not wait for each other. They can only do so on an expired row, because `INSERT_MANY` goes through its keys
//! twice. Then the server aborts one of them, and it is sent again.
//!
//! Rows to write must be found by the index, and in the order of the arrays. So the planner must join the calls, as the
//! outer side of a nested loop, with an index scan. [`IS_CALLED`] and [`IS_LOCKED`] achieve this also in a table that
//! has grown since the statement was planned, or that has no statistics.

use postgres::types::Type;

use super::Template;

/// Parameters: keys.
pub(in crate::pg) const GET_MANY: Template = (
    "SELECT sp__row.sp__value, sp__row.sp__expires, clock_timestamp(), sp__row.sp__created, sp__call.place \
     FROM pg_catalog.unnest((SELECT $1)) WITH ORDINALITY AS sp__call (key, place) \
     CROSS JOIN {no_created} \
     CROSS JOIN LATERAL ( \
         SELECT {read} AS sp__value, {expires} AS sp__expires, {created} AS sp__created \
         FROM {table} AS session \
         WHERE session.{key} {=} sp__call.key AND {expires} > clock_timestamp() OFFSET 0 \
     ) AS sp__row",
    &[Type::VARCHAR_ARRAY],
);

/// The number of sessions.
pub(in crate::pg) const COUNT: Template = (
    "SELECT count(*) FROM {table} AS session WHERE {expires} > clock_timestamp()",
    &[],
);

/// Parameters: keys, microseconds, values, and the owners if `{owner_column}` sets them.
pub(in crate::pg) const GENERATE_MANY: &str = "INSERT INTO {table} ({key}, {expiry}, {value} {owner_column}) \
     SELECT sp__key, clock_timestamp() + sp__micros::float8 * interval '1 microsecond', sp__value{cast} {owner_field} \
     FROM unnest((SELECT $1), (SELECT $2), (SELECT $3) {owner_array}) AS sp__call (sp__key, sp__micros, sp__value {owner_field}) \
     RETURNING 1";

/// Brief. Parameters: keys, microseconds, and the values if `{set}` sets them; no key twice.
pub(in crate::pg) const UPDATE_MANY: &str = "UPDATE {table} AS session \
     SET {expiry} = clock_timestamp() + sp__call.micros::float8 * interval '1 microsecond' {set} \
     FROM unnest({arrays}) WITH ORDINALITY AS sp__call ({columns}, place) \
     WHERE {is_called} \
     AND {expires} > clock_timestamp() + interval '10 seconds' AND {brief_once} \
     RETURNING sp__call.place";

/// Brief. Parameters: keys; no key twice.
pub(in crate::pg) const CLEAR_MANY: &str = "DELETE FROM {table} AS session \
     USING pg_catalog.unnest((SELECT $1)) WITH ORDINALITY AS sp__call (key, place) \
     WHERE {is_called} AND {brief_once} \
     RETURNING sp__call.place";

// The careful statements return the place of each call and whether its session was written. It was not if the
// statement could not lock one of its rows. A call without a row in the answer has found no session. Without a
// unique index a key may have several rows. If another transaction has locked one of them, a statement that does
// not wait changes none of them.

/// Careful. Parameters as those of [`UPDATE_MANY`].
pub(in crate::pg) const UPDATE_CAREFULLY: &str = "WITH sp__call AS MATERIALIZED ( \
         SELECT * FROM unnest({arrays}) WITH ORDINALITY AS sp__call ({columns}, place) \
     ), \
     {locked}, \
     {left}, \
     sp__written AS ( \
         UPDATE {table} AS session \
         SET {expiry} = clock_timestamp() + sp__call.micros::float8 * interval '1 microsecond' {set} \
         FROM sp__locked AS sp__call \
         WHERE {is_locked} \
         RETURNING sp__call.place \
     ) \
     SELECT place, true FROM sp__written UNION ALL SELECT place, false FROM sp__left";

/// Careful. Renews sessions whose `{expiry}` is near, and returns them as [`GET_MANY`] does, but without their age. It
/// does not renew sessions with a row that it cannot lock.
///
/// Parameters: keys, microseconds, and the microseconds of the remaining time below which a session is renewed; no key
/// twice.
pub(in crate::pg) const RENEW_MANY: Template = (
    "WITH sp__call AS MATERIALIZED ( \
         SELECT * FROM unnest((SELECT $1), (SELECT $2), (SELECT $3)) \
         WITH ORDINALITY AS sp__call (key, micros, due, place) \
     ), \
     {locked}, \
     {left} \
     UPDATE {table} AS session \
     SET {expiry} = clock_timestamp() + sp__call.micros::float8 * interval '1 microsecond' \
     FROM sp__locked AS sp__call \
     WHERE {is_locked} \
     AND session.{expiry} < clock_timestamp() + sp__call.due::float8 * interval '1 microsecond' \
     RETURNING {read}, {expires}, clock_timestamp(), NULL::timestamptz, sp__call.place",
    &[Type::VARCHAR_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY],
);

/// Careful. Parameters: keys; no key twice.
pub(in crate::pg) const CLEAR_CAREFULLY: &str = "WITH sp__call AS MATERIALIZED ( \
         SELECT * FROM pg_catalog.unnest((SELECT $1)) WITH ORDINALITY AS sp__call (key, place) \
     ), \
     sp__locked AS MATERIALIZED ( \
         SELECT sp__row.sp__key, sp__call.place FROM sp__call \
         CROSS JOIN LATERAL ( \
             SELECT session.{key} AS sp__key FROM {table} AS session \
             WHERE session.{key} {=} sp__call.key FOR UPDATE {skip} \
         ) AS sp__row \
     ), \
     {left}, \
     sp__removed AS ( \
         DELETE FROM {table} AS session WHERE session.{key} {=} ANY (ARRAY( \
             SELECT sp__key FROM sp__locked AS sp__call WHERE {whole} \
         )) \
     ) \
     SELECT place, false FROM sp__left";

/// The subquery `{locked}`: the calls with the rows that the statement has locked.
pub(in crate::pg) const LOCKED: &str = "sp__locked AS MATERIALIZED ( \
         SELECT sp__row.*, sp__call.* FROM sp__call \
         CROSS JOIN LATERAL ( \
             SELECT session.{key} AS sp__key, {expires} AS sp__expires FROM {table} AS session \
             WHERE session.{key} {=} sp__call.key FOR NO KEY UPDATE {skip} \
         ) AS sp__row \
     )";

/// The condition `{is_called}`: a row has the key of a call. The rest is always true, and only for the planner:
///
/// - From the range of places, it expects one call, for which a hash table does not pay.
/// - The subquery is never executed if the row has an expiry date, but its cost is added for each row of a sequential
///   scan. Without it, the planner scans a small table.
pub(in crate::pg) const IS_CALLED: &str = "session.{key} {=} sp__call.key \
     AND sp__call.place BETWEEN 1 AND 1000000 \
     AND (session.{expiry} >= '-infinity'::timestamptz OR ( \
         SELECT count(*) FROM generate_series(1, 1000) WHERE session.{key} IS NOT NULL \
     ) >= 0)";

/// The condition `{is_locked}`: a row is one of those in `sp__locked`, and its session has not expired.
///
/// The planner uses neither a hash nor a merge join for `= ANY (ARRAY[…])`. From the range of one key, it expects few
/// rows.
pub(in crate::pg) const IS_LOCKED: &str = "session.{key} {=} ANY (ARRAY[sp__call.sp__key]) \
     AND session.{key} {>=} sp__call.sp__key AND session.{key} {<=} sp__call.sp__key \
     AND sp__call.sp__expires > clock_timestamp() AND {expires} > now() AND {whole}";

/// The subquery `{left}`: the calls with a row that the statement could not lock.
pub(in crate::pg) const LEFT: &str = "sp__left AS MATERIALIZED ( \
         SELECT place FROM sp__call WHERE EXISTS ( \
             SELECT FROM {table} AS session WHERE session.{key} {=} sp__call.key \
             OFFSET (SELECT count(*) FROM sp__locked WHERE sp__locked.place = sp__call.place) \
         ) \
     )";

/// The condition `{whole}` of a statement that does not wait: all rows of the call are locked.
pub(in crate::pg) const WHOLE: &str =
    "NOT (sp__call.place = ANY (ARRAY(SELECT place FROM sp__left)))";

/// Adds the sessions whose keys no living session has, and removes expired ones of these keys. Returns the place
/// of each call, whether its session was added, and whether a living session has the key. If both are false,
/// another transaction has inserted a row that this statement cannot see, or has locked an expired row.
///
/// Parameters: keys, microseconds, values; no key twice.
pub(in crate::pg) const INSERT_MANY: &str = "WITH sp__new AS MATERIALIZED ( \
         SELECT * FROM unnest((SELECT $1), (SELECT $2), (SELECT $3)) WITH ORDINALITY AS sp__call (key, micros, value, place) \
         WHERE {brief_once} \
     ), \
     sp__expired AS MATERIALIZED ( \
         SELECT sp__row.sp__key FROM sp__new \
         CROSS JOIN LATERAL ( \
             SELECT session.{key} AS sp__key FROM {table} AS session WHERE session.{key} {=} sp__new.key \
             AND ({expires} > clock_timestamp()) IS NOT TRUE FOR UPDATE {skip} \
         ) AS sp__row \
     ), \
     sp__removed AS ( \
         DELETE FROM {table} AS session \
         WHERE session.{key} {=} ANY (ARRAY(SELECT sp__key FROM sp__expired)) \
         AND ({expires} > clock_timestamp()) IS NOT TRUE \
         RETURNING 1 \
     ), \
     sp__added AS ( \
         INSERT INTO {table} ({key}, {expiry}, {value}) \
         SELECT sp__new.key, clock_timestamp() + sp__new.micros::float8 * interval '1 microsecond', \
                sp__new.value{cast} \
         FROM sp__new \
         WHERE (SELECT count(*) FROM sp__removed) >= 0 \
         AND NOT EXISTS ( \
             SELECT FROM {table} AS session \
             WHERE session.{key} {=} sp__new.key AND {expires} > clock_timestamp() OFFSET 0 \
         ) \
         ORDER BY sp__new.place \
         ON CONFLICT DO NOTHING \
         RETURNING {key} AS sp__key \
     ) \
     SELECT place, \
            EXISTS (SELECT FROM sp__added WHERE sp__added.sp__key {=} sp__new.key), \
            EXISTS ( \
                SELECT FROM {table} AS session \
                WHERE session.{key} {=} sp__new.key AND {expires} > clock_timestamp() OFFSET 0 \
            ) \
     FROM sp__new";
