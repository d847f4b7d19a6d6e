//! Every statement on the sessions table, one constant each.
//!
//! `{table}` stands for the table's quoted name, and `{=}` for the server's own `=`.
//!
//! Somebody else may create things in a schema on the search path. An operator or function of theirs would
//! be taken for the server's own where its types fit better, and would run with the rights of the store's
//! role. So each is named with its schema here, or its operands have the very types that the server's own is
//! for.
//!
//! The clock is the server's, as it stands when a row is looked at: a statement that has waited for
//! a lock must not judge by the time before. So what writes takes its locks first, judges the rows as
//! it then finds them, and writes; PostgreSQL itself looks again after a wait only where a row was
//! changed. `expire_date > now()` beside that leaves out what an expired second row of a key holds.
//!
//! The names of subqueries begin with `sp__`, so as not to hide a table.

use postgres::types::Type;

use super::table::Table;

type Template = (&'static str, &'static [Type]);

/// Parameters: key.
const GET: Template = (
    "SELECT session_data, expire_date, clock_timestamp() FROM {table} \
     WHERE session_key {=} $1 AND expire_date > clock_timestamp()",
    &[Type::BPCHAR],
);

/// Parameters: key, microseconds, value.
const GENERATE: Template = (
    "INSERT INTO {table} (session_key, expire_date, session_data) \
     VALUES ($1, clock_timestamp() + $2::float8 * interval '1 microsecond', $3)",
    &[Type::BPCHAR, Type::INT8, Type::TEXT],
);

/// Parameters: key, microseconds, value.
const SET: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT session_key, expire_date FROM {table} WHERE session_key {=} $1 FOR NO KEY UPDATE \
     ) \
     UPDATE {table} \
     SET expire_date = clock_timestamp() + $2::float8 * interval '1 microsecond', session_data = $3 \
     WHERE session_key = ANY (ARRAY( \
         SELECT session_key FROM sp__locked WHERE expire_date > clock_timestamp() \
     )) \
     AND expire_date > now() \
     RETURNING expire_date, clock_timestamp()",
    &[Type::BPCHAR, Type::INT8, Type::TEXT],
);

/// Parameters: key, microseconds.
const TOUCH: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT session_key, expire_date FROM {table} WHERE session_key {=} $1 FOR NO KEY UPDATE \
     ) \
     UPDATE {table} SET expire_date = clock_timestamp() + $2::float8 * interval '1 microsecond' \
     WHERE session_key = ANY (ARRAY( \
         SELECT session_key FROM sp__locked WHERE expire_date > clock_timestamp() \
     )) \
     AND expire_date > now() \
     RETURNING 1",
    &[Type::BPCHAR, Type::INT8],
);

/// Parameters: key.
const CLEAR: Template = (
    "DELETE FROM {table} WHERE session_key {=} $1",
    &[Type::BPCHAR],
);

/// Parameters: key, new key.
const ROTATE: Template = (
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

/// Reads as [`GET`], under the row's lock, and names the transaction. Parameters: key.
const LOCK: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT session_data, expire_date FROM {table} WHERE session_key {=} $1 FOR UPDATE \
     ) \
     SELECT session_data, expire_date, clock_timestamp(), txid_current() FROM sp__locked \
     WHERE expire_date > clock_timestamp()",
    &[Type::BPCHAR],
);

/// What became of a transaction. Parameters: its number.
const OUTCOME: Template = ("SELECT txid_status($1)", &[Type::INT8]);

// The statements for many take arrays, and answer with the places of the calls they speak of, counted
// from 1. A place is never found by reading a key back: `char(40)` pads it with blanks.
//
// A lateral subquery looks up one key after the other, and so locks in the order of the arrays, which
// is that of the keys in all batches: none waits for one that waits for it. Only `INSERT_MANY` goes
// through its keys twice, expired rows first; where two of them meet on expired rows, the server may
// have to end one, and it is sent again.
//
// What waits for locks may be told for how long, or NULL for as long as it takes.
//
// What writes finds its rows by `key = ANY (ARRAY[…])`, which no hash or merge join takes, or by the
// array of all that was locked; where an array is of one key only, `BETWEEN` that key and itself makes
// the planner expect few rows, whatever it knows of the table. So it uses the index.

/// Parameters: keys.
const GET_MANY: Template = (
    "SELECT row.session_data, row.expire_date, clock_timestamp(), sp__call.place \
     FROM pg_catalog.unnest($1) WITH ORDINALITY AS sp__call (key, place) \
     CROSS JOIN LATERAL ( \
         SELECT session_data, expire_date FROM {table} \
         WHERE session_key {=} sp__call.key AND expire_date > clock_timestamp() OFFSET 0 \
     ) AS row",
    &[Type::BPCHAR_ARRAY],
);

/// Parameters: keys, microseconds, values.
const GENERATE_MANY: Template = (
    "INSERT INTO {table} (session_key, expire_date, session_data) \
     SELECT key, clock_timestamp() + micros::float8 * interval '1 microsecond', value \
     FROM unnest($1, $2, $3) AS sp__call (key, micros, value)",
    &[Type::BPCHAR_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY],
);

/// Parameters: keys, microseconds, values, for how long to wait for a lock; no key twice.
const SET_MANY: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT row.*, sp__call.* \
         FROM unnest($1, $2, $3) WITH ORDINALITY AS sp__call (key, micros, value, place) \
         CROSS JOIN LATERAL ( \
             SELECT session_key, expire_date FROM {table} WHERE session_key {=} sp__call.key \
             AND (SELECT $4 IS NULL OR set_config('lock_timeout', $4, true) IS NOT NULL) \
             FOR NO KEY UPDATE \
         ) AS row \
     ) \
     UPDATE {table} AS session \
     SET expire_date = clock_timestamp() + locked.micros::float8 * interval '1 microsecond', \
         session_data = locked.value \
     FROM sp__locked AS locked \
     WHERE session.session_key = ANY (ARRAY[locked.session_key]) \
     AND session.session_key BETWEEN locked.session_key AND locked.session_key \
     AND locked.expire_date > clock_timestamp() AND session.expire_date > now() \
     RETURNING locked.place",
    &[
        Type::BPCHAR_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT,
    ],
);

/// Parameters: keys, microseconds, for how long to wait for a lock; no key twice.
const TOUCH_MANY: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT row.*, sp__call.* \
         FROM unnest($1, $2) WITH ORDINALITY AS sp__call (key, micros, place) \
         CROSS JOIN LATERAL ( \
             SELECT session_key, expire_date FROM {table} WHERE session_key {=} sp__call.key \
             AND (SELECT $3 IS NULL OR set_config('lock_timeout', $3, true) IS NOT NULL) \
             FOR NO KEY UPDATE \
         ) AS row \
     ) \
     UPDATE {table} AS session \
     SET expire_date = clock_timestamp() + locked.micros::float8 * interval '1 microsecond' \
     FROM sp__locked AS locked \
     WHERE session.session_key = ANY (ARRAY[locked.session_key]) \
     AND session.session_key BETWEEN locked.session_key AND locked.session_key \
     AND locked.expire_date > clock_timestamp() AND session.expire_date > now() \
     RETURNING locked.place",
    &[Type::BPCHAR_ARRAY, Type::INT8_ARRAY, Type::TEXT],
);

/// Parameters: keys, for how long to wait for a lock.
const CLEAR_MANY: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT row.session_key FROM pg_catalog.unnest($1) AS sp__call (key) \
         CROSS JOIN LATERAL ( \
             SELECT session_key FROM {table} WHERE session_key {=} sp__call.key \
             AND (SELECT $2 IS NULL OR set_config('lock_timeout', $2, true) IS NOT NULL) \
             FOR UPDATE \
         ) AS row \
     ) \
     DELETE FROM {table} WHERE session_key = ANY (ARRAY(SELECT session_key FROM sp__locked))",
    &[Type::BPCHAR_ARRAY, Type::TEXT],
);

/// Puts in what no living session has, in place of expired ones; says of each call whether it was
/// put in, and whether a living session was there. Neither means that another call came between,
/// whose row this statement could not see yet.
///
/// Parameters: keys, microseconds, values; no key twice.
const INSERT_MANY: Template = (
    "WITH sp__new AS MATERIALIZED ( \
         SELECT * FROM unnest($1, $2, $3) WITH ORDINALITY AS sp__call (key, micros, value, place) \
     ), \
     sp__expired AS MATERIALIZED ( \
         SELECT row.session_key FROM sp__new \
         CROSS JOIN LATERAL ( \
             SELECT session_key FROM {table} WHERE session_key {=} sp__new.key \
             AND (expire_date > clock_timestamp()) IS NOT TRUE FOR UPDATE \
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
    &[Type::BPCHAR_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY],
);

/// Removes expired rows of some blocks. Says whether it had its turn, how many rows it has found, how many
/// of these it has removed, and how many blocks the table has; of one in partitions, the largest of these.
///
/// A row that others have locked is left out. One that was changed after this statement began is judged
/// again when it is locked, and left out if it was renewed; after that nobody can change it, and what has
/// expired stays so. To judge by the time when the statement began leaves some rows for the next one, and
/// removes none too early.
///
/// `ctid` names a row within its partition only. So partitions are told apart, by a condition that the
/// planner makes no join of (`IS TRUE`), for a join might read the whole table.
///
/// Who has lost a commit of this in a crash loses nothing: so it waits for no disk and no standby.
///
/// Parameters: the quoted name, first block, block after the last, most rows, class of the advisory lock
/// that gives the turn, or NULL where none is needed, number of rows to pass over.
const PRUNE: Template = (
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

/// One statement, for one table, with its parameters' types.
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) types: &'static [Type],
}

/// Every statement, for one table.
pub(super) struct Statements {
    pub(super) get: Sql,
    pub(super) generate: Sql,
    pub(super) set: Sql,
    pub(super) touch: Sql,
    pub(super) clear: Sql,
    pub(super) rotate: Sql,
    pub(super) lock: Sql,
    pub(super) outcome: Sql,
    pub(super) get_many: Sql,
    pub(super) generate_many: Sql,
    pub(super) set_many: Sql,
    pub(super) touch_many: Sql,
    pub(super) clear_many: Sql,
    pub(super) insert_many: Sql,
    pub(super) prune: Sql,
}

impl Statements {
    pub(super) fn new(table: &Table) -> Statements {
        let table = table.to_string();
        let sql = |(text, types): Template| Sql {
            text: text
                .replace("{table}", &table)
                .replace("{=}", "OPERATOR(pg_catalog.=)"),
            types,
        };
        Statements {
            get: sql(GET),
            generate: sql(GENERATE),
            set: sql(SET),
            touch: sql(TOUCH),
            clear: sql(CLEAR),
            rotate: sql(ROTATE),
            lock: sql(LOCK),
            outcome: sql(OUTCOME),
            get_many: sql(GET_MANY),
            generate_many: sql(GENERATE_MANY),
            set_many: sql(SET_MANY),
            touch_many: sql(TOUCH_MANY),
            clear_many: sql(CLEAR_MANY),
            insert_many: sql(INSERT_MANY),
            prune: sql(PRUNE),
        }
    }
}
