//! Whether the columns have the types that the store needs, and the store can write them.

use postgres::{Row, types::Type};

use crate::{
    Key,
    pg::connection::{Connection, StatementError},
};

/// Parameters: the quoted name.
const COLUMNS: &str = "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod), atttypid, atttypmod, \
     attnotnull, atthasdef OR attidentity <> '' OR attgenerated <> '', attgenerated <> '' \
     FROM pg_catalog.pg_attribute \
     WHERE attrelid = $1::text::regclass::oid AND attnum > 0 AND NOT attisdropped \
     ORDER BY attnum";

/// The collation of the key, if it is nondeterministic. Parameters: the quoted name.
const NONDETERMINISTIC_COLLATION: &str = "SELECT attcollation::regcollation::text \
     FROM pg_catalog.pg_attribute \
     JOIN pg_catalog.pg_collation ON pg_collation.oid = attcollation \
     WHERE attrelid = $1::text::regclass::oid AND attname = 'session_key' AND NOT collisdeterministic";

pub(super) fn problems(connection: &mut Connection<'_>) -> Result<Vec<String>, StatementError> {
    let columns = connection.query_catalog(COLUMNS)?;
    let columns = columns
        .iter()
        .map(Column::read)
        .collect::<Result<Vec<_>, _>>()?;
    let mut problems = type_problems(&columns);
    for row in connection.query_catalog(NONDETERMINISTIC_COLLATION)? {
        let collation: String = row.try_get(0)?;
        problems.push(format!(
            "column session_key has the nondeterministic collation {collation}, but must have a deterministic one, \
             such as \"C\", because different keys can be equal otherwise"
        ));
    }
    Ok(problems)
}

struct Column {
    name: String,
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

/// A column that the store needs: its name, a test of its type, and the type to recommend.
type NeededColumn = (&'static str, fn(&Column) -> bool, &'static str);

const NEEDED: [NeededColumn; 3] = [
    (
        "session_key",
        // With another type, the server casts the column and uses no index. A `char(n)` has the modifier n + 4.
        |c| c.is(&Type::TEXT) || c.is(&Type::BPCHAR) && c.takes(Key::MAX_LEN as i32 + 4),
        "char(40) or text",
    ),
    (
        "expire_date",
        // A lower precision could round the expiry date of an expired session into the future.
        |c| c.is(&Type::TIMESTAMPTZ) && c.takes(2),
        "timestamp (2) with time zone",
    ),
    (
        "session_data",
        |c| {
            [Type::TEXT, Type::VARCHAR, Type::BPCHAR]
                .iter()
                .any(|ty| c.is(ty))
                && c.modifier == -1
        },
        "text",
    ),
];

fn type_problems(columns: &[Column]) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, fits, ty) in NEEDED {
        match columns.iter().find(|column| column.name == name) {
            None => problems.push(format!("column {name} of type {ty} is missing")),
            Some(column) if name == "session_key" && column.is(&Type::VARCHAR) => {
                problems.push(format!(
                    "column {name} is {}, but must be {ty}, because calls use no index for it",
                    column.ty
                ));
            }
            Some(column) if !fits(column) => {
                problems.push(format!("column {name} is {}, but must be {ty}", column.ty));
            }
            Some(column) if column.is_generated => {
                problems.push(format!(
                    "column {name} is generated, so nothing can be stored in it"
                ));
            }
            Some(column) if name == "session_data" && column.not_null => {
                problems.push(format!(
                    "column {name} is NOT NULL, so no session can be unset"
                ));
            }
            Some(_) => {}
        }
    }
    let others = columns
        .iter()
        .filter(|column| NEEDED.iter().all(|need| need.0 != column.name));
    for column in others.filter(|column| column.not_null && !column.has_default) {
        problems.push(format!(
            "column {} is NOT NULL without a default, so no session can be added",
            column.name
        ));
    }
    problems
}
