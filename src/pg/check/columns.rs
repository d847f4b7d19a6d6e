//! Whether the columns have the types that the store needs, and the store can write them.

use postgres::{Row, types::Type};

use crate::{
    Key,
    pg::{
        PostgresStore,
        connection::{Connection, StatementError},
        names::{HASHED_KEY, Names, PLAIN_KEY, ValueType},
    },
    session::MAX_OWNER_BYTES,
};

/// Parameters: the quoted name.
const COLUMNS: &str = "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod), atttypid, atttypmod, \
     attnotnull, atthasdef OR attidentity <> '' OR attgenerated <> '', attgenerated <> '' \
     FROM pg_catalog.pg_attribute \
     WHERE attrelid = $1::text::regclass::oid AND attnum > 0 AND NOT attisdropped \
     ORDER BY attnum";

/// The columns with a nondeterministic collation, and the collation. Parameters: the quoted name.
const NONDETERMINISTIC_COLLATIONS: &str = "SELECT attname::text, attcollation::regcollation::text \
     FROM pg_catalog.pg_attribute \
     JOIN pg_catalog.pg_collation ON pg_collation.oid = attcollation \
     WHERE attrelid = $1::text::regclass::oid AND NOT collisdeterministic";

pub(super) fn collation_problems(
    connection: &mut Connection<'_>,
    names: &Names,
) -> Result<Vec<String>, StatementError> {
    let mut problems = Vec::new();
    for row in connection.query_catalog(NONDETERMINISTIC_COLLATIONS)? {
        let (column, collation): (&str, String) = (row.try_get(0)?, row.try_get(1)?);
        if column == names.columns.key() || column == names.columns.owner() {
            problems.push(format!(
                "column {column} has the nondeterministic collation {collation}, but must have a deterministic one, \
                 such as \"C\", because different texts can be equal otherwise"
            ));
        }
    }
    Ok(problems)
}

/// A column of the table.
pub(super) struct Column {
    pub(super) name: String,
    /// As in SQL, for example `character(40)`.
    ty: String,
    type_id: u32,
    /// The `atttypmod`: the length or precision in parentheses, encoded as the type defines it. -1 without.
    modifier: i32,
    not_null: bool,
    has_default: bool,
    is_generated: bool,
}

impl Column {
    pub(super) fn read_all(connection: &mut Connection<'_>) -> Result<Vec<Column>, StatementError> {
        let rows = connection.query_catalog(COLUMNS)?;
        Ok(rows.iter().map(Column::read).collect::<Result<_, _>>()?)
    }

    fn read(row: &Row) -> Result<Column, postgres::Error> {
        Ok(Column {
            name: row.try_get(0)?,
            ty: row.try_get(1)?,
            type_id: row.try_get(2)?,
            modifier: row.try_get(3)?,
            not_null: row.try_get(4)?,
            has_default: row.try_get(5)?,
            is_generated: row.try_get(6)?,
        })
    }

    fn is(&self, ty: &Type) -> bool {
        self.type_id == ty.oid()
    }

    /// Whether the length or precision is at least `modifier`, or unlimited.
    fn takes(&self, modifier: i32) -> bool {
        self.modifier == -1 || self.modifier >= modifier
    }
}

/// The requirements of a column.
struct Needed<'a> {
    name: &'a str,
    fits: fn(&Column) -> bool,
    /// The type to recommend.
    ty: &'static str,
    is_optional: bool,
}

/// A text whose length is not limited, or a `char` or `varchar` of at least so many characters. Their modifier is the
/// length + 4.
fn holds_text(column: &Column, characters: usize) -> bool {
    let has_length = column.is(&Type::BPCHAR) || column.is(&Type::VARCHAR);
    column.is(&Type::TEXT) || has_length && column.takes(characters as i32 + 4)
}

fn holds_value(column: &Column) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR]
        .iter()
        .any(|ty| column.is(ty))
        && column.modifier == -1
}

impl PostgresStore {
    fn needed_columns(&self) -> [Needed<'_>; 5] {
        let names = &self.names.columns;
        [
            Needed {
                name: names.key(),
                // With another type, the server casts the column and uses no index.
                fits: |column| holds_text(column, Key::LEN),
                ty: "char(40), varchar(40) or longer, or text",
                is_optional: false,
            },
            Needed {
                name: names.expiry(),
                // A lower precision could round the expiry date of an expired session into the future.
                fits: |column| column.is(&Type::TIMESTAMPTZ) && column.takes(2),
                ty: "timestamp (2) with time zone",
                is_optional: false,
            },
            Needed {
                name: names.value(),
                fits: match self.value_type {
                    ValueType::Text => holds_value,
                    ValueType::Json => |column| column.is(&Type::JSON),
                    ValueType::Jsonb => |column| column.is(&Type::JSONB),
                },
                ty: self.value_type.name(),
                is_optional: false,
            },
            Needed {
                name: names.created(),
                fits: |column| column.is(&Type::TIMESTAMPTZ),
                ty: "timestamp with time zone",
                is_optional: self.max_age.is_none(),
            },
            Needed {
                name: names.owner(),
                // A `char` strips blanks, and the server would cast it and use no index.
                fits: |column| !column.is(&Type::BPCHAR) && holds_text(column, MAX_OWNER_BYTES),
                ty: "text",
                is_optional: true,
            },
        ]
    }

    pub(super) fn column_problems(&self, columns: &[Column]) -> Vec<String> {
        let needed = self.needed_columns();
        let mut problems = Vec::new();
        for need in &needed {
            let (name, ty) = (need.name, need.ty);
            match columns.iter().find(|column| column.name == name) {
                None if need.is_optional => {}
                None => problems.push(self.missing(need, columns)),
                Some(column) if !(need.fits)(column) => {
                    let hint = match need.is_optional {
                        true => ", or set another name by `columns` if it has another meaning",
                        false => "",
                    };
                    problems.push(format!(
                        "column {name} is {}, but must be {ty}{hint}",
                        column.ty
                    ));
                }
                Some(column) if column.is_generated => {
                    problems.push(format!(
                        "column {name} is generated, so nothing can be stored in it"
                    ));
                }
                Some(column) if name == self.names.columns.value() && column.not_null => {
                    problems.push(format!(
                        "column {name} is NOT NULL, so no session can be unset"
                    ));
                }
                Some(column) if name == self.names.columns.created() && !column.has_default => {
                    problems.push(format!(
                        "column {name} has no default, so the age of new sessions is unknown: set its default to now()"
                    ));
                }
                Some(column) if name == self.names.columns.owner() && column.not_null => {
                    problems.push(format!(
                        "column {name} is NOT NULL, so no session can be without an owner"
                    ));
                }
                Some(_) => {}
            }
        }
        let others = columns
            .iter()
            .filter(|column| needed.iter().all(|need| need.name != column.name));
        for column in others.filter(|column| column.not_null && !column.has_default) {
            problems.push(format!(
                "column {} is NOT NULL without a default, so no session can be added",
                column.name
            ));
        }
        problems
    }

    fn missing(&self, need: &Needed<'_>, columns: &[Column]) -> String {
        let (name, ty) = (need.name, need.ty);
        let has = |name: &str| columns.iter().any(|column| column.name == name);
        match name {
            HASHED_KEY if has(PLAIN_KEY) => format!(
                "its keys are not hashed, because it has the column {PLAIN_KEY} instead of {HASHED_KEY}: run \
                 sql/hash-keys.sql, or turn off the option `hash_keys`"
            ),
            PLAIN_KEY if has(HASHED_KEY) => format!(
                "its keys are hashed, because it has the column {HASHED_KEY} instead of {PLAIN_KEY}: turn on the option \
                 `hash_keys`"
            ),
            _ => format!("column {name} of type {ty} is missing"),
        }
    }
}
