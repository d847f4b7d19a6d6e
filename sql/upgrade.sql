-- Makes of the original's table what create.sql makes. Readers and writers wait while it runs; the
-- original goes on working with the result. What no reader could find is removed first: rows without
-- a key, expired rows, and of each key all rows but the one that lives longest.
BEGIN;

LOCK TABLE "session" IN ACCESS EXCLUSIVE MODE;

DELETE FROM "session"
WHERE session_key IS NULL OR expire_date IS NULL OR expire_date <= now();

DELETE FROM "session" AS double
USING "session" AS kept
WHERE kept.session_key = double.session_key
AND (kept.expire_date, kept.ctid) > (double.expire_date, double.ctid);

ALTER TABLE "session"
    ALTER COLUMN expire_date SET NOT NULL,
    ADD PRIMARY KEY (session_key);

DROP INDEX IF EXISTS session_key_idx;

COMMIT;
