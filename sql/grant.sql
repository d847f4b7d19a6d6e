-- All that the store needs, for a role named web.
GRANT SELECT, INSERT, UPDATE, DELETE ON "session" TO web;
