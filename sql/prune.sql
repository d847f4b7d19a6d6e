-- Deletes expired sessions in one transaction. The store never returns an expired session, so this only
-- frees disk space. Locked rows are skipped and remain until the next run.
-- Meant for cron. In a program, use `Pruner` or `PostgresStore::prune`: they delete in small transactions.
DELETE FROM "session"
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM "session"
    WHERE expire_date <= now() OR expire_date IS NULL
    FOR UPDATE SKIP LOCKED
))
-- A ctid is unique only within one partition: it can also match an unexpired row of another one.
AND (expire_date <= now() OR expire_date IS NULL);
