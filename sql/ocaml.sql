-- Creates the sessions table of OCaml's session-postgresql if it does not exist. session-postgres works
-- with this table unchanged, also while an OCaml service uses it. upgrade.sql converts it to the table of
-- create.sql.
CREATE TABLE IF NOT EXISTS "session" (
    session_key  char(40),
    expire_date  timestamp (2) with time zone,
    session_data text
);
CREATE INDEX IF NOT EXISTS session_key_idx ON "session" (session_key);
