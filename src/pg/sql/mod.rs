//! The text of every statement on the sessions table.
//!
//! [`Statements`](super::statements::Statements) fills in the placeholders for one table. `{table}` is its quoted name,
//! and `{key}`, `{expiry}`, `{value}`, `{created}` and `{owner}` are the quoted names of its columns. `{=}`, `{<>}`,
//! `{>=}` and `{<=}` are the operators of the server. The others are described where they are defined or used.
//!
//! # Names
//!
//! Other users may create operators and functions in a schema on the search path. PostgreSQL prefers one of
//! them if its types fit better, and executes it with the privileges of the store's role. Therefore each operator
//! and function is qualified with its schema here, or its operands have exactly the types of the server's own.
//!
//! A row of the table is called `session`. The names of subqueries and of their columns begin with `sp__`, so that they
//! hide neither a table nor a column. The types of keys are `varchar`, because the server compares a `varchar` with a
//! column of type `char`, `varchar` or `text` by its index.
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

mod many;
mod one;
mod owners;
mod prune;

use postgres::types::Type;

pub(super) use self::{many::*, one::*, owners::*, prune::PRUNE};

/// The text of a statement and the types of its parameters.
pub(super) type Template = (&'static str, &'static [Type]);

/// The parameters of a statement for one call: key, microseconds, value, owner.
pub(super) const ONE: &[Type] = &[Type::VARCHAR, Type::INT8, Type::TEXT, Type::TEXT];

/// The parameters of a statement for many calls: keys, microseconds, values, owners.
pub(super) const MANY: &[Type] = &[
    Type::VARCHAR_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
];

/// The condition `{brief}`, which sets the `lock_timeout` of the transaction.
///
/// 20 ms is longer than a commit takes on most disks, and shorter than the default `deadlock_timeout`.
pub(super) const BRIEF: &str = "set_config('lock_timeout', '20ms', true) IS NOT NULL";

/// The same for a statement that examines many rows: it is evaluated once.
pub(super) const BRIEF_ONCE: &str = "(SELECT set_config('lock_timeout', '20ms', true)) IS NOT NULL";

/// The date `{expires}` at which a session expires. With a maximum age, that can be before `{expiry}`.
pub(super) const EXPIRES: &str = "session.{expiry}";

/// The same for a store with a maximum age. `{max_age}` is the number of microseconds. A session with a NULL in one of
/// the columns has expired. `least` ignores NULL, so it would have no limit otherwise.
pub(super) const EXPIRES_BY_AGE: &str = "least(coalesce(session.{expiry}, '-infinity'), \
     coalesce(session.{created}, '-infinity') + '{max_age}'::float8 * interval '1 microsecond')";

/// The source of `{created}` if the table has no such column.
///
/// A subquery beside it finds the column of the table if there is one, and else this one.
pub(super) const NO_CREATED: &str = "(SELECT NULL::timestamptz AS {created}) AS sp__none";

/// The handle of a session, `{handle}`: the same as [`Key::handle`](crate::Key::handle).
pub(super) const HANDLE: &str = "pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to( \
     pg_catalog.concat({hashed}, ' handle'), 'UTF8')), 'hex'), 32)";

/// The hash of a key, `{hashed}`, if the table contains hashes.
pub(super) const HASHED: &str = "session.{key}::text";

/// The hash of a key, `{hashed}`, if the table contains keys. sql/hash-keys.sql computes the same.
pub(super) const HASHED_NOW: &str = "pg_catalog.translate(pg_catalog.encode(pg_catalog.substring( \
     pg_catalog.sha256(pg_catalog.convert_to(session.{key}::text, 'UTF8')), 1, 30), 'base64'), '+/', '-_')";
