-- Creates the recommended sessions table if it does not exist, like create.sql, but with hash partitions. To convert an
-- existing table, run partition-live.sql instead.
-- The number of partitions cannot be changed later without a copy of the table.
BEGIN;

CREATE TABLE IF NOT EXISTS "session" (
    session_key  char(40) PRIMARY KEY,
    expire_date  timestamp (2) with time zone NOT NULL,
    session_data text,
    created_at   timestamp with time zone NOT NULL DEFAULT now(),
    owner        text
) PARTITION BY HASH (session_key);

CREATE INDEX IF NOT EXISTS session_owner_idx ON "session" (owner) WHERE owner IS NOT NULL;

DO $$
DECLARE
    partitions CONSTANT int := 8;
BEGIN
    FOR number IN 0 .. partitions - 1 LOOP
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF "session" '
            'FOR VALUES WITH (MODULUS %s, REMAINDER %s) WITH (fillfactor = 90)',
            'session_p' || number, partitions, number);
    END LOOP;
END $$;

COMMIT;
