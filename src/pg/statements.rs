//! The statements of [`sql`] for one table.

use std::sync::Arc;

use postgres::types::Type;

use super::{
    names::{Names, ValueType},
    sql::{self, MANY, ONE, Template},
};
use crate::Period;

/// Every statement of a store.
pub(super) struct Statements {
    pub(super) get: Sql,
    pub(super) count: Sql,
    pub(super) get_many: Sql,
    pub(super) renew_many: Sql,
    pub(super) generate: GenerateStatements,
    pub(super) generate_with_owner: GenerateStatements,
    pub(super) set: WriteStatements,
    pub(super) touch: WriteStatements,
    pub(super) clear: WriteStatements,
    pub(super) insert: Sql,
    pub(super) insert_waiting: Sql,
    pub(super) insert_is_diverted: Sql,
    pub(super) stored: Sql,
    /// For each set of changed fields; see [`Statements::rotate`].
    rotate: Vec<Sql>,
    /// The same, if the caller gives the new key.
    rotate_to: Vec<Sql>,
    pub(super) remove_expired: Sql,
    pub(super) set_owner: Sql,
    pub(super) owned: Sql,
    pub(super) clear_owned: Sql,
    pub(super) clear_handle: Sql,
    pub(super) lock: Sql,
    pub(super) set_locked: Sql,
    pub(super) transaction_status: Sql,
    pub(super) prune: Sql,
}

/// One statement.
pub(super) struct Sql {
    pub(super) text: Arc<str>,
    /// The types of its parameters.
    pub(super) types: &'static [Type],
}

/// The statements that add sessions with new keys.
pub(super) struct GenerateStatements {
    pub(super) one: Sql,
    pub(super) many: Sql,
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

/// The options of a store on which its statements depend.
pub(super) struct TableOptions<'a> {
    pub(super) names: &'a Names,
    pub(super) value_type: ValueType,
    pub(super) max_age: Option<Period>,
    pub(super) hash_keys: bool,
}

impl TableOptions<'_> {
    /// Returns a statement. If it `waits`, it waits for locks.
    fn fill(&self, text: &str, types: &'static [Type], waits: bool) -> Sql {
        let (brief_once, skip, whole) = match waits {
            true => ("true", "", "true"),
            false => (sql::BRIEF_ONCE, "SKIP LOCKED", sql::WHOLE),
        };
        let expires = match self.max_age {
            Some(age) => {
                let micros = age.whole_microseconds().to_string();
                sql::EXPIRES_BY_AGE.replace("{max_age}", &micros)
            }
            None => sql::EXPIRES.to_owned(),
        };
        let hashed = match self.hash_keys {
            true => sql::HASHED,
            false => sql::HASHED_NOW,
        };
        // Those that contain others come first.
        let text = text
            .replace("{locked}", sql::LOCKED)
            .replace("{is_locked}", sql::IS_LOCKED)
            .replace("{is_called}", sql::IS_CALLED)
            .replace("{left}", sql::LEFT)
            .replace("{no_created}", sql::NO_CREATED)
            .replace("{handle}", sql::HANDLE)
            .replace("{hashed}", hashed)
            .replace("{brief}", sql::BRIEF)
            .replace("{brief_once}", brief_once)
            .replace("{skip}", skip)
            .replace("{whole}", whole)
            .replace("{read}", self.value_type.read())
            .replace("{cast}", self.value_type.cast())
            .replace("{expires}", &expires)
            .replace("{=}", "OPERATOR(pg_catalog.=)")
            .replace("{<>}", "OPERATOR(pg_catalog.<>)")
            .replace("{>=}", "OPERATOR(pg_catalog.>=)")
            .replace("{<=}", "OPERATOR(pg_catalog.<=)");
        Sql {
            text: self.names.fill(&text).into(),
            types,
        }
    }

    fn statement(&self, (text, types): Template) -> Sql {
        self.fill(text, types, false)
    }

    fn generate(&self, owner: [&str; 4], count: usize) -> GenerateStatements {
        let of = |text: &str| {
            text.replace("{owner_column}", owner[0])
                .replace("{owner_parameter}", owner[1])
                .replace("{owner_array}", owner[2])
                .replace("{owner_field}", owner[3])
        };
        GenerateStatements {
            one: self.fill(&of(sql::GENERATE), &ONE[..count], false),
            many: self.fill(&of(sql::GENERATE_MANY), &MANY[..count], false),
        }
    }

    /// Returns the statements of `set` or `touch`. `set` is what they set in addition to the expiry date.
    fn update(&self, columns: &str, arrays: &str, set: [&str; 2], count: usize) -> WriteStatements {
        let (one, many) = (&ONE[..count], &MANY[..count]);
        let of_many = |text: &str| {
            text.replace("{columns}", columns)
                .replace("{arrays}", arrays)
                .replace("{set}", set[1])
        };
        let careful = of_many(sql::UPDATE_CAREFULLY);
        WriteStatements {
            brief: self.fill(&sql::UPDATE.replace("{set}", set[0]), one, false),
            brief_many: self.fill(&of_many(sql::UPDATE_MANY), many, false),
            careful_skipping: self.fill(&careful, many, false),
            careful_waiting: self.fill(&careful, many, true),
            may_be_absent: false,
        }
    }

    fn change(&self, set: &str, lock: &str, and: &str, types: &'static [Type]) -> Sql {
        let text = sql::CHANGE
            .replace("{set}", set)
            .replace("{lock}", lock)
            .replace("{and}", and);
        self.fill(&text, types, false)
    }

    /// Returns the statements of a rotation for each set of changed fields.
    fn rotations(&self, and: &str) -> Vec<Sql> {
        let [key, fields @ ..] = sql::ROTATE_SETS;
        let sets = (0..1 << fields.len()).map(|changed| {
            let changed = (0..fields.len()).filter(|field| changed >> field & 1 == 1);
            let sets = changed.map(|field| fields[field]);
            std::iter::once(key)
                .chain(sets)
                .collect::<Vec<_>>()
                .join(", ")
        });
        sets.map(|set| self.change(&set, "UPDATE", and, sql::ROTATE))
            .collect()
    }

    fn clear_owned(&self, (and, types): Template) -> Sql {
        self.fill(&sql::CLEAR_OWNED.replace("{and}", and), types, false)
    }
}

impl Statements {
    pub(super) fn new(table: &TableOptions<'_>) -> Statements {
        Statements {
            get: table.statement(sql::GET),
            count: table.statement(sql::COUNT),
            get_many: table.statement(sql::GET_MANY),
            renew_many: table.statement(sql::RENEW_MANY),
            generate: table.generate([""; 4], 3),
            generate_with_owner: table
                .generate([", {owner}", ", $4", ", (SELECT $4)", ", sp__owner"], 4),
            set: table.update(
                "key, micros, value",
                "(SELECT $1), (SELECT $2), (SELECT $3)",
                [", {value} = $3{cast}", ", {value} = sp__call.value{cast}"],
                3,
            ),
            touch: table.update("key, micros", "(SELECT $1), (SELECT $2)", ["", ""], 2),
            clear: WriteStatements {
                brief: table.fill(sql::CLEAR, &ONE[..1], false),
                brief_many: table.fill(sql::CLEAR_MANY, &MANY[..1], false),
                careful_skipping: table.fill(sql::CLEAR_CAREFULLY, &MANY[..1], false),
                careful_waiting: table.fill(sql::CLEAR_CAREFULLY, &MANY[..1], true),
                may_be_absent: true,
            },
            insert: table.fill(sql::INSERT_MANY, &MANY[..3], false),
            insert_waiting: table.fill(sql::INSERT_MANY, &MANY[..3], true),
            insert_is_diverted: table.statement(sql::INSERT_IS_DIVERTED),
            stored: table.statement(sql::STORED),
            rotate: table.rotations(""),
            rotate_to: table.rotations(sql::NEW_KEY_IS_FREE),
            remove_expired: table.statement(sql::REMOVE_EXPIRED),
            set_owner: table.change("{owner} = $2", "NO KEY UPDATE", "", sql::SET_OWNER),
            owned: table.statement(sql::OWNED),
            clear_owned: table.clear_owned(sql::EXCEPT_KEY),
            clear_handle: table.clear_owned(sql::WITH_HANDLE),
            lock: table.statement(sql::LOCK),
            set_locked: table.fill(sql::SET_LOCKED, sql::SET_LOCKED_TYPES, false),
            transaction_status: table.statement(sql::TRANSACTION_STATUS),
            prune: table.statement(sql::PRUNE),
        }
    }

    /// Returns the statement of a rotation that changes these fields: the expiry date, the value, the owner. If the
    /// caller has given the new key, the statement changes nothing if a session has it.
    pub(super) fn rotate(&self, changed: [bool; 3], is_new_key_given: bool) -> &Sql {
        let statements = match is_new_key_given {
            true => &self.rotate_to,
            false => &self.rotate,
        };
        let [expiry, value, owner] = changed.map(usize::from);
        &statements[expiry | value << 1 | owner << 2]
    }
}
