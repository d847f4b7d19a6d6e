-- Converts the table of ocaml.sql to the table of create.sql. OCaml's session-postgresql keeps working
-- on the result. Readers and writers wait while the script runs.
-- Deletes rows that no reader can find: rows without a key, expired rows, and for each key all rows except
-- the one that expires last.
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
