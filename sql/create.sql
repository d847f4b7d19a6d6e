-- Creates the recommended sessions table if it does not exist. It has the columns of OCaml's
-- session-postgresql, and in addition a primary key, an expiry date that cannot be NULL, the time of creation,
-- and an owner. Each page keeps space for new versions of its rows.
-- If there is a sessions table without the last two columns, run add-columns.sql instead.
CREATE TABLE IF NOT EXISTS "session" (
    session_key  char(40) PRIMARY KEY,
    expire_date  timestamp (2) with time zone NOT NULL,
    session_data text,
    created_at   timestamp with time zone NOT NULL DEFAULT now(),
    owner        text
) WITH (fillfactor = 90);

CREATE INDEX IF NOT EXISTS session_owner_idx ON "session" (owner) WHERE owner IS NOT NULL;
