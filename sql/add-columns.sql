-- Adds to an existing sessions table what owners and ages need: the columns created_at and owner, and the index on
-- the owner. Other programs that use the table, such as OCaml's session-postgresql, keep working.
-- Existing sessions count as created now. Readers and writers wait while the script runs.
BEGIN;

ALTER TABLE "session"
    ADD COLUMN IF NOT EXISTS created_at timestamp with time zone NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS owner text,
    SET (fillfactor = 90);

CREATE INDEX IF NOT EXISTS session_owner_idx ON "session" (owner) WHERE owner IS NOT NULL;

COMMIT;
