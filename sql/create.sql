-- Creates the recommended sessions table if it does not exist. It has the columns of OCaml's
-- session-postgresql, and in addition a primary key and an expiry date that cannot be NULL.
CREATE TABLE IF NOT EXISTS "session" (
    session_key  char(40) PRIMARY KEY,
    expire_date  timestamp (2) with time zone NOT NULL,
    session_data text
);
