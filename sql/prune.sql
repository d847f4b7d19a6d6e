-- Removes what has expired. The store never finds an expired row, so this only frees its space: run
-- it now and then, for example from cron. It waits for nobody: rows in use are left for the next time.
DELETE FROM "session"
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM "session"
    WHERE expire_date <= now() OR expire_date IS NULL
    FOR UPDATE SKIP LOCKED
));
