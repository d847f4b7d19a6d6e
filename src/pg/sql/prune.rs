//! The statement that removes expired rows.

use postgres::types::Type;

use super::Template;

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
/// Parameters: the quoted name, first block, block after the last, most rows, class of the advisory lock,
/// number of rows to skip.
pub(in crate::pg) const PRUNE: Template = (
    "WITH sp__turn AS MATERIALIZED ( \
         SELECT set_config('synchronous_commit', 'off', true) IS NOT NULL \
             AND pg_try_advisory_xact_lock($5, $1::regclass::oid::int4) AS is_mine \
     ), \
     sp__expired AS MATERIALIZED ( \
         SELECT session.tableoid AS sp__table, session.ctid AS sp__row FROM {table} AS session \
         WHERE (SELECT is_mine FROM sp__turn) \
         AND session.ctid >= pg_catalog.format('(%s,0)', $2)::tid \
         AND session.ctid < pg_catalog.format('(%s,0)', $3)::tid \
         AND ({expires} > now()) IS NOT TRUE \
         LIMIT $4 OFFSET $6 FOR UPDATE SKIP LOCKED \
     ), \
     sp__removed AS ( \
         DELETE FROM {table} AS session \
         WHERE session.ctid = ANY (ARRAY(SELECT sp__row FROM sp__expired)) \
         AND ((session.tableoid, session.ctid) IN (SELECT sp__table, sp__row FROM sp__expired)) IS TRUE \
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
