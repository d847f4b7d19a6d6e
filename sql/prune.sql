-- Removes what has expired, in one transaction. The store never finds an expired row, so this only frees
-- its space. It waits for nobody: rows in use are left for the next time. A program does better with
-- `Pruner` or `PostgresStore::prune`, which do it in small transactions; this is for cron and the like.
DELETE FROM "session"
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM "session"
    WHERE expire_date <= now() OR expire_date IS NULL
    FOR UPDATE SKIP LOCKED
))
-- In a table of partitions, others may have a row of that place.
AND (expire_date <= now() OR expire_date IS NULL);
