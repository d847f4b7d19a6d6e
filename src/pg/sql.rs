//! Every statement on the sessions table, one constant each.
//!
//! `{table}` is replaced by the table's quoted name, and `{=}`, `{>=}` and `{<=}` by the server's own operators.
//!
//! Other users may create operators and functions in a schema on the search path. PostgreSQL prefers one
//! of theirs if its types fit better, and executes it with the rights of the store's role. Therefore each
//! operator and function is named with its schema here, or its operands have exactly the types that the
//! server's own is for.
//!
//! The clock is the server's, read when a row is examined. A statement that has waited for a lock must not
//! judge a session by the time before the wait, and PostgreSQL examines a row again after a wait only if
//! the row was changed. So a session is written in one of two ways:
//!
//! - The *brief* statements are a plain `UPDATE` of the sessions that live for another ten seconds. They wait
//!   for a lock for 20 ms (`{brief}`), so none of these sessions expires while they wait.
//! - The *careful* statements lock the rows first, judge them as they are then, and write. They cost a
//!   quarter more.
//!
//! `{skip}` is replaced by `SKIP LOCKED` in the careful statements that do not wait for a lock at all.
//!
//! The names of subqueries begin with `sp__`, so that they do not hide a table.

use postgres::types::Type;

use super::table::Table;

type Template = (&'static str, &'static [Type]);

/// The parameters of a verb, for one call and for many: key, microseconds, value.
const ONE: &[Type] = &[Type::BPCHAR, Type::INT8, Type::TEXT];
const MANY: &[Type] = &[Type::BPCHAR_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY];

/// The condition that limits how long a statement waits for a lock, until its transaction ends.
///
/// 20 ms is longer than a commit takes on most disks, and shorter than the time after which the server looks
/// for deadlocks.
const BRIEF: &str = "(SELECT set_config('lock_timeout', '20ms', true)) IS NOT NULL";

/// Parameters: key.
const GET: Template = (
    "SELECT session_data, expire_date, clock_timestamp() FROM {table} \
     WHERE session_key {=} $1 AND expire_date > clock_timestamp()",
    &[Type::BPCHAR],
);

/// Parameters: key, microseconds, value.
const GENERATE: Template = (
    "INSERT INTO {table} (session_key, expire_date, session_data) \
     VALUES ($1, clock_timestamp() + $2::float8 * interval '1 microsecond', $3) RETURNING 1",
    ONE,
);

/// Brief. Parameters: key, microseconds, and the value if `{value}` sets one.
const UPDATE: &str = "UPDATE {table} \
     SET expire_date = clock_timestamp() + $2::float8 * interval '1 microsecond' {value} \
     WHERE session_key {=} $1 AND expire_date > clock_timestamp() + interval '10 seconds' AND {brief} \
     RETURNING 1";

/// Brief. Parameters: key.
const CLEAR: &str = "DELETE FROM {table} WHERE session_key {=} $1 AND {brief} RETURNING 1";

/// Careful. Parameters: key, new key.
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

/// Locks a row and reads it as [`GET`] does, and names the transaction. Parameters: key.
const LOCK: Template = (
    "WITH sp__locked AS MATERIALIZED ( \
         SELECT session_data, expire_date FROM {table} WHERE session_key {=} $1 FOR UPDATE \
     ) \
     SELECT session_data, expire_date, clock_timestamp(), txid_current() FROM sp__locked \
     WHERE expire_date > clock_timestamp()",
    &[Type::BPCHAR],
);

/// Writes a row that this transaction has locked. Parameters: key, microseconds, value.
const SET_LOCKED: Template = (
    "UPDATE {table} \
     SET expire_date = clock_timestamp() + $2::float8 * interval '1 microsecond', session_data = $3 \
     WHERE session_key {=} $1 AND expire_date > clock_timestamp() \
     RETURNING expire_date, clock_timestamp()",
    ONE,
);

/// The status of a transaction. Parameters: its number.
const OUTCOME: Template = ("SELECT txid_status($1)", &[Type::INT8]);

/// The rows of a key, whether or not the session has expired. Parameters: key.
const STORED: Template = (
    "SELECT session_data, expire_date FROM {table} WHERE session_key {=} $1",
    &[Type::BPCHAR],
);

/// Whether a trigger or a rule comes before an insert. Parameters: the quoted name.
const INSERT_IS_DIVERTED: Template = (
    "SELECT EXISTS ( \
         SELECT FROM pg_trigger \
         WHERE tgrelid = $1::regclass::oid AND tgtype & 7::int2 = 7::int2 AND NOT tgisinternal \
     ) OR EXISTS ( \
         SELECT FROM pg_rewrite WHERE ev_class = $1::regclass::oid AND ev_type = '3'::\"char\" \
     )",
    &[Type::TEXT],
);

// The statements for many calls take arrays, and answer with the places of the calls, counted from 1. A
// key is never read back, because `char(40)` pads it with blanks.
//
// Rows are locked in the order of the arrays, which is that of the keys in all batches, so that two batches
// do not wait for each other. If they do so on an expired row, because `INSERT_MANY` goes through its keys
// twice, the server ends one of them, and it is sent again.
//
// Rows to write are found by `key = ANY (ARRAY[…])`, for which the planner uses neither a hash nor a merge
// join. A range of one key makes it expect few rows, even of a table that it knows nothing about, so that it
// uses the index.

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
     FROM unnest($1, $2, $3) AS sp__call (key, micros, value) \
     RETURNING 1",
    MANY,
);

/// Brief. Parameters: keys, microseconds, and the values if `{value}` sets them; no key twice.
const UPDATE_MANY: &str = "UPDATE {table} AS session \
     SET expire_date = clock_timestamp() + sp__call.micros::float8 * interval '1 microsecond' {value} \
     FROM unnest({arrays}) WITH ORDINALITY AS sp__call ({columns}, place) \
     WHERE session.session_key {=} ANY (ARRAY[sp__call.key]) \
     AND session.session_key {>=} sp__call.key AND session.session_key {<=} sp__call.key \
     AND session.expire_date > clock_timestamp() + interval '10 seconds' AND {brief} \
     RETURNING sp__call.place";

/// Brief. Parameters: keys; no key twice.
const CLEAR_MANY: &str = "DELETE FROM {table} AS session \
     USING pg_catalog.unnest($1) WITH ORDINALITY AS sp__call (key, place) \
     WHERE session.session_key {=} ANY (ARRAY[sp__call.key]) \
     AND session.session_key {>=} sp__call.key AND session.session_key {<=} sp__call.key AND {brief} \
     RETURNING sp__call.place";

// The careful statements answer with the place of each call, and whether its session was written. It was not
// if there is a row of it that the statement could not lock. A call that is not in the answer has found no
// session. Without a unique index a key may have several rows, of which another transaction locks one. A
// statement that does not wait leaves such a key as it is.

/// Careful. Parameters as those of [`UPDATE_MANY`].
const UPDATE_CAREFULLY: &str = "WITH sp__call AS MATERIALIZED ( \
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
const CLEAR_CAREFULLY: &str = "WITH sp__call AS MATERIALIZED ( \
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

/// The calls with a row that the statement could not lock.
const LEFT: &str = "sp__left AS MATERIALIZED ( \
         SELECT place FROM sp__call WHERE EXISTS ( \
             SELECT FROM {table} WHERE session_key {=} sp__call.key \
             OFFSET (SELECT count(*) FROM sp__locked WHERE sp__locked.place = sp__call.place) \
         ) \
     )";

/// Whether all rows of a call are locked, in a statement that does not wait.
const WHOLE: &str = "NOT (sp__call.place = ANY (ARRAY(SELECT place FROM sp__left)))";

/// Adds the sessions whose keys no living session has, in place of expired ones. Answers with the place of
/// each call, whether it was added, and whether a living session has the key. If neither holds, the row of
/// another transaction is in the way and this statement cannot see it, or an expired row is locked.
///
/// Parameters: keys, microseconds, values; no key twice.
const INSERT_MANY: Template = (
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

/// The statements of a verb that writes sessions that are there. All take the first parameters of: key,
/// microseconds, value.
pub(super) struct Write {
    /// Brief, for one call.
    pub(super) one: Sql,
    /// Brief, for many calls.
    pub(super) many: Sql,
    /// Careful, without waiting for a lock.
    pub(super) skipping: Sql,
    /// Careful, and waits for locks.
    pub(super) waiting: Sql,
    /// Whether a call succeeds that finds no session.
    pub(super) may_be_absent: bool,
}

/// Every statement, for one table.
pub(super) struct Statements {
    pub(super) get: Sql,
    pub(super) get_many: Sql,
    pub(super) generate: Sql,
    pub(super) generate_many: Sql,
    pub(super) set: Write,
    pub(super) touch: Write,
    pub(super) clear: Write,
    pub(super) insert: Sql,
    pub(super) insert_waiting: Sql,
    pub(super) insert_is_diverted: Sql,
    pub(super) stored: Sql,
    pub(super) rotate: Sql,
    pub(super) lock: Sql,
    pub(super) set_locked: Sql,
    pub(super) outcome: Sql,
    pub(super) prune: Sql,
}

impl Statements {
    pub(super) fn new(table: &Table) -> Statements {
        let table = table.to_string();
        let fill = |text: &str, types, waits| {
            let (brief, skip, whole) = match waits {
                true => ("true", "", "true"),
                false => (BRIEF, "SKIP LOCKED", WHOLE),
            };
            let text = text
                .replace("{left}", LEFT)
                .replace("{brief}", brief)
                .replace("{skip}", skip)
                .replace("{whole}", whole)
                .replace("{=}", "OPERATOR(pg_catalog.=)")
                .replace("{>=}", "OPERATOR(pg_catalog.>=)")
                .replace("{<=}", "OPERATOR(pg_catalog.<=)")
                .replace("{table}", &table);
            Sql { text, types }
        };
        let sql = |(text, types): Template| fill(text, types, false);
        let waiting = |(text, types): Template| fill(text, types, true);
        let update = |columns: &str, arrays: &str, value: [&str; 2], count: usize| {
            let (one, many) = (&ONE[..count], &MANY[..count]);
            let of_many = |text: &str| {
                let text = text.replace("{columns}", columns);
                text.replace("{arrays}", arrays)
                    .replace("{value}", value[1])
            };
            let careful = of_many(UPDATE_CAREFULLY);
            Write {
                one: fill(&UPDATE.replace("{value}", value[0]), one, false),
                many: fill(&of_many(UPDATE_MANY), many, false),
                skipping: fill(&careful, many, false),
                waiting: fill(&careful, many, true),
                may_be_absent: false,
            }
        };
        let set = [", session_data = $3", ", session_data = sp__call.value"];
        Statements {
            get: sql(GET),
            get_many: sql(GET_MANY),
            generate: sql(GENERATE),
            generate_many: sql(GENERATE_MANY),
            set: update("key, micros, value", "$1, $2, $3", set, 3),
            touch: update("key, micros", "$1, $2", ["", ""], 2),
            clear: Write {
                one: fill(CLEAR, &ONE[..1], false),
                many: fill(CLEAR_MANY, &MANY[..1], false),
                skipping: fill(CLEAR_CAREFULLY, &MANY[..1], false),
                waiting: fill(CLEAR_CAREFULLY, &MANY[..1], true),
                may_be_absent: true,
            },
            insert: sql(INSERT_MANY),
            insert_waiting: waiting(INSERT_MANY),
            insert_is_diverted: sql(INSERT_IS_DIVERTED),
            stored: sql(STORED),
            rotate: sql(ROTATE),
            lock: sql(LOCK),
            set_locked: sql(SET_LOCKED),
            outcome: sql(OUTCOME),
            prune: sql(PRUNE),
        }
    }
}
