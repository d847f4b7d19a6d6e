-- Grants the role `web` all privileges that the store needs. With several servers, it also needs
-- GRANT SELECT, INSERT, UPDATE ON session_shard_map TO web;
GRANT SELECT, INSERT, UPDATE, DELETE ON "session" TO web;
