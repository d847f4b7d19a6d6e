-- Grants the role `web` all privileges that the store needs.
GRANT SELECT, INSERT, UPDATE, DELETE ON "session" TO web;
