//! The statements of [`sql`] for one table.

use postgres::types::Type;

use super::{
    sql::{self, MANY, ONE, Template},
    table_name::TableName,
};

/// Every statement of a store.
pub(super) struct Statements {
    pub(super) get: Sql,
    pub(super) get_many: Sql,
    pub(super) generate: Sql,
    pub(super) generate_many: Sql,
    pub(super) set: WriteStatements,
    pub(super) touch: WriteStatements,
    pub(super) clear: WriteStatements,
    pub(super) insert: Sql,
    pub(super) insert_waiting: Sql,
    pub(super) insert_is_diverted: Sql,
    pub(super) stored: Sql,
    pub(super) rotate: Sql,
    pub(super) lock: Sql,
    pub(super) set_locked: Sql,
    pub(super) transaction_status: Sql,
    pub(super) prune: Sql,
}

/// One statement.
pub(super) struct Sql {
    pub(super) text: String,
    /// The types of its parameters.
    pub(super) types: &'static [Type],
}

/// The statements of a verb that writes existing sessions. Their parameters are a prefix of: key, microseconds,
/// value.
pub(super) struct WriteStatements {
    /// For one call. Waits for a lock for at most 20 ms.
    pub(super) brief: Sql,
    /// For many calls. Waits for a lock for at most 20 ms.
    pub(super) brief_many: Sql,
    /// For many calls. Skips locked sessions.
    pub(super) careful_skipping: Sql,
    /// For many calls. Waits for locked sessions.
    pub(super) careful_waiting: Sql,
    /// Whether a call succeeds if there is no session.
    pub(super) may_be_absent: bool,
}

impl Statements {
    pub(super) fn new(table: &TableName) -> Statements {
        let table = table.to_string();
        let fill = |text: &str, types, waits| {
            let (brief, skip, whole) = match waits {
                true => ("true", "", "true"),
                false => (sql::BRIEF, "SKIP LOCKED", sql::WHOLE),
            };
            let text = text
                .replace("{left}", sql::LEFT)
                .replace("{brief}", brief)
                .replace("{skip}", skip)
                .replace("{whole}", whole)
                .replace("{=}", "OPERATOR(pg_catalog.=)")
                .replace("{>=}", "OPERATOR(pg_catalog.>=)")
                .replace("{<=}", "OPERATOR(pg_catalog.<=)")
                .replace("{table}", &table);
            Sql { text, types }
        };
        let statement = |(text, types): Template| fill(text, types, false);
        let waiting = |(text, types): Template| fill(text, types, true);
        let update = |columns: &str, arrays: &str, value: [&str; 2], count: usize| {
            let (one, many) = (&ONE[..count], &MANY[..count]);
            let of_many = |text: &str| {
                let text = text.replace("{columns}", columns);
                text.replace("{arrays}", arrays)
                    .replace("{value}", value[1])
            };
            let careful = of_many(sql::UPDATE_CAREFULLY);
            WriteStatements {
                brief: fill(&sql::UPDATE.replace("{value}", value[0]), one, false),
                brief_many: fill(&of_many(sql::UPDATE_MANY), many, false),
                careful_skipping: fill(&careful, many, false),
                careful_waiting: fill(&careful, many, true),
                may_be_absent: false,
            }
        };
        let set_value = [", session_data = $3", ", session_data = sp__call.value"];
        Statements {
            get: statement(sql::GET),
            get_many: statement(sql::GET_MANY),
            generate: statement(sql::GENERATE),
            generate_many: statement(sql::GENERATE_MANY),
            set: update("key, micros, value", "$1, $2, $3", set_value, 3),
            touch: update("key, micros", "$1, $2", ["", ""], 2),
            clear: WriteStatements {
                brief: fill(sql::CLEAR, &ONE[..1], false),
                brief_many: fill(sql::CLEAR_MANY, &MANY[..1], false),
                careful_skipping: fill(sql::CLEAR_CAREFULLY, &MANY[..1], false),
                careful_waiting: fill(sql::CLEAR_CAREFULLY, &MANY[..1], true),
                may_be_absent: true,
            },
            insert: statement(sql::INSERT_MANY),
            insert_waiting: waiting(sql::INSERT_MANY),
            insert_is_diverted: statement(sql::INSERT_IS_DIVERTED),
            stored: statement(sql::STORED),
            rotate: statement(sql::ROTATE),
            lock: statement(sql::LOCK),
            set_locked: statement(sql::SET_LOCKED),
            transaction_status: statement(sql::TRANSACTION_STATUS),
            prune: statement(sql::PRUNE),
        }
    }
}
