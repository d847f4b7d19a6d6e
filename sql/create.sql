-- The sessions table as session-postgres recommends it: the original's columns, with a key that is
-- unique and an expiry date that is always there. Running it twice does no harm.
CREATE TABLE IF NOT EXISTS "session" (
    session_key  char(40) PRIMARY KEY,
    expire_date  timestamp (2) with time zone NOT NULL,
    session_data text
);
