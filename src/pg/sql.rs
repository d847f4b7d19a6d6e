//! Every statement on the sessions table, one constant each.
//!
//! `{table}` stands for the table's quoted name.
//!
//! The clock is the server's: `now()` where a statement only reads, and `clock_timestamp()` where it
//! may have waited for a lock, for it must not judge by the time before the wait.

use postgres::types::Type;

use super::table::Table;

type Template = (&'static str, &'static [Type]);

/// Parameters: key.
const GET: Template = (
    "SELECT session_data, expire_date, now() FROM {table} \
     WHERE session_key = $1 AND expire_date > now()",
    &[Type::BPCHAR],
);

/// Parameters: key, microseconds, value.
const GENERATE: Template = (
    "INSERT INTO {table} (session_key, expire_date, session_data) \
     VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond', $3)",
    &[Type::BPCHAR, Type::INT8, Type::TEXT],
);

/// Parameters: key, microseconds, value.
const SET: Template = (
    "UPDATE {table} \
     SET expire_date = clock_timestamp() + $2 * interval '1 microsecond', session_data = $3 \
     WHERE session_key = $1 AND expire_date > clock_timestamp() \
     RETURNING expire_date, clock_timestamp()",
    &[Type::BPCHAR, Type::INT8, Type::TEXT],
);

/// Parameters: key, microseconds.
const TOUCH: Template = (
    "UPDATE {table} SET expire_date = clock_timestamp() + $2 * interval '1 microsecond' \
     WHERE session_key = $1 AND expire_date > clock_timestamp() RETURNING 1",
    &[Type::BPCHAR, Type::INT8],
);

/// Parameters: key.
const CLEAR: Template = (
    "DELETE FROM {table} WHERE session_key = $1",
    &[Type::BPCHAR],
);

/// Parameters: key, new key.
const ROTATE: Template = (
    "UPDATE {table} SET session_key = $2 \
     WHERE session_key = $1 AND expire_date > clock_timestamp() RETURNING 1",
    &[Type::BPCHAR, Type::BPCHAR],
);

/// Reads as [`GET`], locks the row, and names the transaction. Parameters: key.
const LOCK: Template = (
    "SELECT session_data, expire_date, clock_timestamp(), txid_current() FROM {table} \
     WHERE session_key = $1 AND expire_date > clock_timestamp() FOR UPDATE",
    &[Type::BPCHAR],
);

/// What became of a transaction. Parameters: its number.
const OUTCOME: Template = ("SELECT txid_status($1)", &[Type::INT8]);

// The statements for many take arrays, and answer with the places of the calls they speak of, counted
// from 1. A place is never found by reading a key back: `char(40)` pads it with blanks.
//
// A lateral subquery looks up one key after the other, by the index whatever the planner knows of
// the table, and locks in the order of the arrays, which is that of the keys in all batches: so none
// waits for one that waits for it. Only `INSERT_MANY` goes through its keys twice, expired rows first;
// where two of them meet on expired rows, the server may have to end one, and it is sent again.

/// Parameters: keys.
const GET_MANY: Template = (
    "SELECT row.session_data, row.expire_date, now(), wanted.place \
     FROM unnest($1) WITH ORDINALITY AS wanted (key, place) \
     CROSS JOIN LATERAL ( \
         SELECT session_data, expire_date FROM {table} \
         WHERE session_key = wanted.key AND expire_date > now() OFFSET 0 \
     ) AS row",
    &[Type::BPCHAR_ARRAY],
);

/// Parameters: keys, microseconds, values.
const GENERATE_MANY: Template = (
    "INSERT INTO {table} (session_key, expire_date, session_data) \
     SELECT key, clock_timestamp() + micros * interval '1 microsecond', value \
     FROM unnest($1, $2, $3) AS new (key, micros, value)",
    &[Type::BPCHAR_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY],
);

/// Parameters: keys, microseconds, values; no key twice.
const SET_MANY: Template = (
    "WITH locked AS MATERIALIZED ( \
         SELECT wanted.* \
         FROM unnest($1, $2, $3) WITH ORDINALITY AS wanted (key, micros, value, place) \
         CROSS JOIN LATERAL ( \
             SELECT 1 FROM {table} WHERE session_key = wanted.key FOR NO KEY UPDATE \
         ) AS row \
     ) \
     UPDATE {table} AS session \
     SET expire_date = clock_timestamp() + locked.micros * interval '1 microsecond', \
         session_data = locked.value \
     FROM locked \
     WHERE session.session_key = locked.key AND session.expire_date > clock_timestamp() \
     RETURNING locked.place",
    &[Type::BPCHAR_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY],
);

/// Parameters: keys, microseconds; no key twice.
const TOUCH_MANY: Template = (
    "WITH locked AS MATERIALIZED ( \
         SELECT wanted.* \
         FROM unnest($1, $2) WITH ORDINALITY AS wanted (key, micros, place) \
         CROSS JOIN LATERAL ( \
             SELECT 1 FROM {table} WHERE session_key = wanted.key FOR NO KEY UPDATE \
         ) AS row \
     ) \
     UPDATE {table} AS session \
     SET expire_date = clock_timestamp() + locked.micros * interval '1 microsecond' \
     FROM locked \
     WHERE session.session_key = locked.key AND session.expire_date > clock_timestamp() \
     RETURNING locked.place",
    &[Type::BPCHAR_ARRAY, Type::INT8_ARRAY],
);

/// Parameters: keys.
const CLEAR_MANY: Template = (
    "WITH locked AS MATERIALIZED ( \
         SELECT wanted.key FROM unnest($1) AS wanted (key) \
         CROSS JOIN LATERAL ( \
             SELECT 1 FROM {table} WHERE session_key = wanted.key FOR UPDATE \
         ) AS row \
     ) \
     DELETE FROM {table} AS session USING locked WHERE session.session_key = locked.key",
    &[Type::BPCHAR_ARRAY],
);

/// Puts in what no living session has, in place of expired ones; says of each call whether it was
/// put in, and whether a living session was there. Neither means that another call came between,
/// whose row this statement could not see yet.
///
/// Parameters: keys, microseconds, values; no key twice.
const INSERT_MANY: Template = (
    "WITH new AS MATERIALIZED ( \
         SELECT * FROM unnest($1, $2, $3) WITH ORDINALITY AS new (key, micros, value, place) \
     ), \
     locked AS MATERIALIZED ( \
         SELECT new.key FROM new \
         CROSS JOIN LATERAL ( \
             SELECT 1 FROM {table} WHERE session_key = new.key \
             AND (expire_date > clock_timestamp()) IS NOT TRUE FOR UPDATE \
         ) AS row \
     ), \
     removed AS ( \
         DELETE FROM {table} AS session USING locked \
         WHERE session.session_key = locked.key \
         AND (session.expire_date > clock_timestamp()) IS NOT TRUE \
         RETURNING 1 \
     ), \
     added AS ( \
         INSERT INTO {table} (session_key, expire_date, session_data) \
         SELECT key, clock_timestamp() + micros * interval '1 microsecond', value FROM new \
         WHERE (SELECT count(*) FROM removed) >= 0 \
         AND NOT EXISTS ( \
             SELECT FROM {table} WHERE session_key = new.key AND expire_date > clock_timestamp() \
         ) \
         ORDER BY place \
         ON CONFLICT DO NOTHING \
         RETURNING session_key \
     ) \
     SELECT place, \
            EXISTS (SELECT FROM added WHERE session_key = new.key), \
            EXISTS ( \
                SELECT FROM {table} WHERE session_key = new.key AND expire_date > now() \
            ) \
     FROM new",
    &[Type::BPCHAR_ARRAY, Type::INT8_ARRAY, Type::TEXT_ARRAY],
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
}

impl Statements {
    pub(super) fn new(table: &Table) -> Statements {
        let table = table.to_string();
        let sql = |(text, types): Template| Sql {
            text: text.replace("{table}", &table),
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
        }
    }
}
