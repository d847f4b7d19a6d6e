//! The text of every statement on the sessions table.
//!
//! [`Statements`](super::statements::Statements) fills in the placeholders for one table: `{table}` is its quoted
//! name, `{=}`, `{>=}` and `{<=}` are the operators of the server, and the others are described where they are
//! used.
//!
//! # Names
//!
//! Other users may create operators and functions in a schema on the search path. PostgreSQL prefers one of
//! them if its types fit better, and executes it with the privileges of the store's role. Therefore each operator
//! and function is qualified with its schema here, or its operands have exactly the types of the server's own.
//!
//! The names of subqueries begin with `sp__`, so that they do not hide a table.
//!
//! # Locks and expiry
//!
//! The clock is the server's, read when a row is examined. A statement that has waited for a lock must not
//! judge a session by the time before the wait, and PostgreSQL examines a row again after a wait only if
//! the row was changed. So a session is written in one of two ways:
//!
//! - The *brief* statements are a plain `UPDATE` of the sessions that live for at least another ten seconds. They
//!   wait for a lock for at most 20 ms (`{brief}`), so none of these sessions expires during the wait.
//! - The *careful* statements lock the rows first, then judge and write them. They take a quarter more time.
//!   `{skip}` is `SKIP LOCKED` in those that do not wait for a lock at all.

use postgres::types::Type;

/// The text of a statement and the types of its parameters.
pub(super) type Template = (&'static str, &'static [Type]);

/// The parameters of a statement for one call: key, microseconds, value.
pub(super) const ONE: &[Type] = &[Type::BPCHAR, Type::INT8, Type::TEXT];

/// The parameters of a statement for many calls: keys, microseconds, values.
pub(super) const MANY: &[Type] = &[Type::BPCHAR_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY];

/// The condition `{brief}`, which sets the `lock_timeout` of the transaction.
///
/// 20 ms is longer than a commit takes on most disks, and shorter than the default `deadlock_timeout`.
pub(super) const BRIEF: &str = "(SELECT set_config('lock_timeout', '20ms', true)) IS NOT NULL";

/// Parameters: key.
pub(super) const GET: Template = (
    "SELECT session_data, expire_date, clock_timestamp() FROM {table} \
     WHERE session_key {=} $1 AND expire_date > clock_timestamp()",
    &[Type::BPCHAR],
);

/// Parameters: key, microseconds, value.
pub(super) const GENERATE: Template = (
    "INSERT INTO {table} (session_key, expire_date, session_data) \
     VALUES ($1, clock_timestamp() + $2::float8 * interval '1 microsecond', $3) RETURNING 1",
    ONE,
);

/// Brief. Parameters: key, microseconds, and the value if `{value}` sets it.
pub(super) const UPDATE: &str = "UPDATE {table} \
     SET expire_date = clock_timestamp() + $2::float8 * interval '1 microsecond' {value} \
     WHERE session_key {=} $1 AND expire_date > clock_timestamp() + interval '10 seconds' AND {brief} \
     RETURNING 1";

/// Brief. Parameters: key.
pub(super) const CLEAR: &str =
    "DELETE FROM {table} WHERE session_key {=} $1 AND {brief} RETURNING 1";

/// Careful. Parameters: key, new key.
pub(super) const ROTATE: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT session_key, expire_date FROM {table} WHERE session_key {=} $1 FOR UPDATE \
     ) \
     UPDATE {table} SET session_key = $2 \
     WHERE session_key = ANY (ARRAY( \
         SELECT session_key FROM sp__locked WHERE expire_date > clock_timestamp() \
     )) \
     AND expire_date > now() \
     RETURNING 1",
    &[Type::BPCHAR, Type::BPCHAR],
);

/// Locks a row and reads it as [`GET`] does. Also returns the number of the transaction. Parameters: key.
pub(super) const LOCK: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT session_data, expire_date FROM {table} WHERE session_key {=} $1 FOR UPDATE \
     ) \
     SELECT session_data, expire_date, clock_timestamp(), txid_current() FROM sp__locked \
     WHERE expire_date > clock_timestamp()",
    &[Type::BPCHAR],
);

/// Writes a row that this transaction has locked. Parameters: key, microseconds, value.
pub(super) const SET_LOCKED: Template = (
    "UPDATE {table} \
     SET expire_date = clock_timestamp() + $2::float8 * interval '1 microsecond', session_data = $3 \
     WHERE session_key {=} $1 AND expire_date > clock_timestamp() \
     RETURNING expire_date, clock_timestamp()",
    ONE,
);

/// Returns the status of a transaction. Parameters: its number.
pub(super) const TRANSACTION_STATUS: Template = ("SELECT txid_status($1)", &[Type::INT8]);

/// Returns all rows of a key, also expired ones. Parameters: key.
pub(super) const STORED: Template = (
    "SELECT session_data, expire_date FROM {table} WHERE session_key {=} $1",
    &[Type::BPCHAR],
);

/// Returns whether a trigger or a rule is executed instead of or before an insert. Parameters: the quoted name.
pub(super) const INSERT_IS_DIVERTED: Template = (
    "SELECT EXISTS ( \
         SELECT FROM pg_trigger \
         WHERE tgrelid = $1::regclass::oid AND tgtype & 7::int2 = 7::int2 AND NOT tgisinternal \
     ) OR EXISTS ( \
         SELECT FROM pg_rewrite WHERE ev_class = $1::regclass::oid AND ev_type = '3'::\"char\" \
     )",
    &[Type::TEXT],
);

// The statements for many calls take arrays, and identify a call by its place in them, counted from 1. A key is
// never read back, because `char(40)` pads it with blanks.
//
// Rows are locked in the order of the arrays. In all batches that is the order of the keys, so that two batches
// do not wait for each other. They can only do so on an expired row, because `INSERT_MANY` goes through its keys
// twice. Then the server aborts one of them, and it is sent again.
//
// Rows to write are found by `key = ANY (ARRAY[…])`, for which the planner uses neither a hash nor a merge
// join. A range of one key makes it expect few rows, even in a table without statistics, so that it uses the
// index.

/// Parameters: keys.
pub(super) const GET_MANY: Template = (
    "SELECT row.session_data, row.expire_date, clock_timestamp(), sp__call.place \
     FROM pg_catalog.unnest($1) WITH ORDINALITY AS sp__call (key, place) \
     CROSS JOIN LATERAL ( \
         SELECT session_data, expire_date FROM {table} \
         WHERE session_key {=} sp__call.key AND expire_date > clock_timestamp() OFFSET 0 \
     ) AS row",
    &[Type::BPCHAR_ARRAY],
);

/// Parameters: keys, microseconds, values.
pub(super) const GENERATE_MANY: Template = (
    "INSERT INTO {table} (session_key, expire_date, session_data) \
     SELECT key, clock_timestamp() + micros::float8 * interval '1 microsecond', value \
     FROM unnest($1, $2, $3) AS sp__call (key, micros, value) \
     RETURNING 1",
    MANY,
);

/// Brief. Parameters: keys, microseconds, and the values if `{value}` sets them; no key twice.
pub(super) const UPDATE_MANY: &str = "UPDATE {table} AS session \
     SET expire_date = clock_timestamp() + sp__call.micros::float8 * interval '1 microsecond' {value} \
     FROM unnest({arrays}) WITH ORDINALITY AS sp__call ({columns}, place) \
     WHERE session.session_key {=} ANY (ARRAY[sp__call.key]) \
     AND session.session_key {>=} sp__call.key AND session.session_key {<=} sp__call.key \
     AND session.expire_date > clock_timestamp() + interval '10 seconds' AND {brief} \
     RETURNING sp__call.place";

/// Brief. Parameters: keys; no key twice.
pub(super) const CLEAR_MANY: &str = "DELETE FROM {table} AS session \
     USING pg_catalog.unnest($1) WITH ORDINALITY AS sp__call (key, place) \
     WHERE session.session_key {=} ANY (ARRAY[sp__call.key]) \
     AND session.session_key {>=} sp__call.key AND session.session_key {<=} sp__call.key AND {brief} \
     RETURNING sp__call.place";

// The careful statements return the place of each call and whether its session was written. It was not if the
// statement could not lock one of its rows. A call without a row in the answer has found no session. Without a
// unique index a key may have several rows. If another transaction has locked one of them, a statement that does
// not wait changes none of them.

/// Careful. Parameters as those of [`UPDATE_MANY`].
pub(super) const UPDATE_CAREFULLY: &str = "WITH sp__call AS MATERIALIZED ( \
         SELECT * FROM unnest({arrays}) WITH ORDINALITY AS sp__call ({columns}, place) \
     ), \
     sp__locked AS MATERIALIZED ( \
         SELECT row.*, sp__call.* FROM sp__call \
         CROSS JOIN LATERAL ( \
             SELECT session_key, expire_date FROM {table} WHERE session_key {=} sp__call.key \
             FOR NO KEY UPDATE {skip} \
         ) AS row \
     ), \
     {left}, \
     sp__written AS ( \
         UPDATE {table} AS session \
         SET expire_date = clock_timestamp() + sp__call.micros::float8 * interval '1 microsecond' {value} \
         FROM sp__locked AS sp__call \
         WHERE session.session_key = ANY (ARRAY[sp__call.session_key]) \
         AND session.session_key BETWEEN sp__call.session_key AND sp__call.session_key \
         AND sp__call.expire_date > clock_timestamp() AND session.expire_date > now() AND {whole} \
         RETURNING sp__call.place \
     ) \
     SELECT place, true FROM sp__written UNION ALL SELECT place, false FROM sp__left";

/// Careful. Parameters: keys; no key twice.
pub(super) const CLEAR_CAREFULLY: &str = "WITH sp__call AS MATERIALIZED ( \
         SELECT * FROM pg_catalog.unnest($1) WITH ORDINALITY AS sp__call (key, place) \
     ), \
     sp__locked AS MATERIALIZED ( \
         SELECT row.session_key, sp__call.place FROM sp__call \
         CROSS JOIN LATERAL ( \
             SELECT session_key FROM {table} WHERE session_key {=} sp__call.key FOR UPDATE {skip} \
         ) AS row \
     ), \
     {left}, \
     sp__removed AS ( \
         DELETE FROM {table} WHERE session_key = ANY (ARRAY( \
             SELECT session_key FROM sp__locked AS sp__call WHERE {whole} \
         )) \
     ) \
     SELECT place, false FROM sp__left";

/// The subquery `{left}`: the calls with a row that the statement could not lock.
pub(super) const LEFT: &str = "sp__left AS MATERIALIZED ( \
         SELECT place FROM sp__call WHERE EXISTS ( \
             SELECT FROM {table} WHERE session_key {=} sp__call.key \
             OFFSET (SELECT count(*) FROM sp__locked WHERE sp__locked.place = sp__call.place) \
         ) \
     )";

/// The condition `{whole}` of a statement that does not wait: all rows of the call are locked.
pub(super) const WHOLE: &str = "NOT (sp__call.place = ANY (ARRAY(SELECT place FROM sp__left)))";

/// Adds the sessions whose keys no living session has, and removes expired ones of these keys. Returns the place
/// of each call, whether its session was added, and whether a living session has the key. If both are false,
/// another transaction has inserted a row that this statement cannot see, or has locked an expired row.
///
/// Parameters: keys, microseconds, values; no key twice.
pub(super) const INSERT_MANY: Template = (
    "WITH sp__new AS MATERIALIZED ( \
         SELECT * FROM unnest($1, $2, $3) WITH ORDINALITY AS sp__call (key, micros, value, place) \
         WHERE {brief} \
     ), \
     sp__expired AS MATERIALIZED ( \
         SELECT row.session_key FROM sp__new \
         CROSS JOIN LATERAL ( \
             SELECT session_key FROM {table} WHERE session_key {=} sp__new.key \
             AND (expire_date > clock_timestamp()) IS NOT TRUE FOR UPDATE {skip} \
         ) AS row \
     ), \
     sp__removed AS ( \
         DELETE FROM {table} \
         WHERE session_key = ANY (ARRAY(SELECT session_key FROM sp__expired)) \
         AND (expire_date > clock_timestamp()) IS NOT TRUE \
         RETURNING 1 \
     ), \
     sp__added AS ( \
         INSERT INTO {table} (session_key, expire_date, session_data) \
         SELECT key, clock_timestamp() + micros::float8 * interval '1 microsecond', value \
         FROM sp__new \
         WHERE (SELECT count(*) FROM sp__removed) >= 0 \
         AND NOT EXISTS ( \
             SELECT FROM {table} WHERE session_key {=} sp__new.key AND expire_date > clock_timestamp() \
             OFFSET 0 \
         ) \
         ORDER BY place \
         ON CONFLICT DO NOTHING \
         RETURNING session_key \
     ) \
     SELECT place, \
            EXISTS (SELECT FROM sp__added WHERE sp__added.session_key {=} sp__new.key), \
            EXISTS ( \
                SELECT FROM {table} WHERE session_key {=} sp__new.key AND expire_date > clock_timestamp() \
                OFFSET 0 \
            ) \
     FROM sp__new",
    MANY,
);

/// Removes expired rows of some blocks. Returns whether it has the advisory lock, how many rows it has found, how
/// many of these it has removed, and how many blocks the table or its largest partition has.
///
/// It skips rows that other transactions have locked. A row that was changed after the statement began is judged
/// again when it is locked, and skipped if it was renewed. After that no other transaction can change it. The
/// time when the statement began decides what has expired. That leaves some rows for the next one, and removes
/// none too early.
///
/// A `ctid` is unique only within a partition, so `tableoid` is compared too. `IS TRUE` keeps the planner from
/// making a join of this condition, which might read the whole table.
///
/// The commit waits neither for the disk nor for a standby, because nothing is lost if a crash undoes it.
///
/// Parameters: the quoted name, first block, block after the last, most rows, class of the advisory lock or NULL
/// if it is not needed, number of rows to skip.
pub(super) const PRUNE: Template = (
    "WITH sp__turn AS MATERIALIZED ( \
         SELECT set_config('synchronous_commit', 'off', true) IS NOT NULL AND ( \
             $5 IS NULL OR pg_try_advisory_xact_lock($5, $1::regclass::oid::int4) \
         ) AS is_mine \
     ), \
     sp__expired AS MATERIALIZED ( \
         SELECT tableoid AS sp__table, ctid AS sp__row FROM {table} \
         WHERE (SELECT is_mine FROM sp__turn) \
         AND ctid >= pg_catalog.format('(%s,0)', $2)::tid AND ctid < pg_catalog.format('(%s,0)', $3)::tid \
         AND (expire_date > now()) IS NOT TRUE \
         LIMIT $4 OFFSET $6 FOR UPDATE SKIP LOCKED \
     ), \
     sp__removed AS ( \
         DELETE FROM {table} \
         WHERE ctid = ANY (ARRAY(SELECT sp__row FROM sp__expired)) \
         AND ((tableoid, ctid) IN (SELECT sp__table, sp__row FROM sp__expired)) IS TRUE \
         RETURNING 1 \
     ) \
     SELECT is_mine, \
            (SELECT count(*) FROM sp__expired), \
            (SELECT count(*) FROM sp__removed), \
            (SELECT coalesce(max(pg_relation_size(relid)), pg_relation_size($1::regclass)) \
                    / current_setting('block_size')::int8 \
             FROM pg_partition_tree($1::regclass)) \
     FROM sp__turn",
    &[
        Type::TEXT,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::INT4,
        Type::INT8,
    ],
);
