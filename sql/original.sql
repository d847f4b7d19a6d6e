-- The sessions table of OCaml's session-postgresql. session-postgres works with it as it is, and
-- next to a running OCaml service; upgrade.sql makes of it what create.sql makes.
CREATE TABLE IF NOT EXISTS "session" (
    session_key  char(40),
    expire_date  timestamp (2) with time zone,
    session_data text
);
CREATE INDEX IF NOT EXISTS session_key_idx ON "session" (session_key);
