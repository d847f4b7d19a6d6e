-- Replaces the keys of a sessions table by their hashes, for stores with the option `hash_keys`. All sessions stay
-- valid. Stop the programs that use the table without this option first: they fail as soon as the column has its new
-- name. The table is rewritten, so readers and writers wait while the script runs. It cannot be undone.
BEGIN;

ALTER TABLE "session" ALTER COLUMN session_key TYPE char(40)
    USING translate(encode(substring(sha256(convert_to(session_key::text, 'UTF8')), 1, 30), 'base64'), '+/', '-_');

ALTER TABLE "session" RENAME COLUMN session_key TO session_key_hash;

COMMIT;
