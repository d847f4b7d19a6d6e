-- Creates the table in which a server of several keeps the map of all servers, if it does not exist. The store creates it
-- itself if its role may create tables. It belongs into the schema of the sessions table. The role needs the privileges
-- SELECT, INSERT and UPDATE on it. Its owner must be a superuser, that role, or the owner of the sessions table or the schema.
CREATE TABLE IF NOT EXISTS session_shard_map (
    session_table text PRIMARY KEY,
    server        text NOT NULL,
    map           text NOT NULL
);
