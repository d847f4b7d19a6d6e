-- Converts a sessions table with a primary key to one with hash partitions while programs use it. No session is lost.
-- Needs PostgreSQL 14 or later. The guide on partitions says what to check first, and how long calls wait.
--     psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -f sql/partition-live.sql
-- Until the last step, the programs use the old table. If a step fails, run the script again: it begins anew.

-- 1. Remove what an earlier attempt has left. Calls wait behind a lock that this waits for, so it fails after 100 ms.
SET lock_timeout = '100ms';

DROP TRIGGER IF EXISTS session_partition_live ON "session";

DROP FUNCTION IF EXISTS session_partition_live();

DROP TABLE IF EXISTS session_new;

RESET lock_timeout;

-- 2. Create the new table with the columns, the owner and the privileges of the old one.
BEGIN;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = '"session"'::regclass)
    OR EXISTS (SELECT FROM pg_depend WHERE refobjid = '"session"'::regclass AND classid = 'pg_rewrite'::regclass)
    OR EXISTS (SELECT FROM pg_inherits WHERE '"session"'::regclass IN (inhrelid, inhparent))
    OR EXISTS (SELECT FROM pg_publication_rel WHERE prrelid = '"session"'::regclass)
    OR EXISTS (SELECT FROM pg_class WHERE oid = '"session"'::regclass AND relrowsecurity)
    OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = '"session"'::regclass
               AND (attgenerated <> '' OR attidentity <> '' OR attacl IS NOT NULL)) THEN
        RAISE 'this script converts no table with foreign keys, triggers, rules, views, partitions, publications, '
            'policies, generated columns or privileges on columns';
    END IF;
    EXECUTE (SELECT format('SET LOCAL ROLE %s', relowner::regrole) FROM pg_class WHERE oid = '"session"'::regclass);
END $$;

CREATE TABLE session_new (LIKE "session" INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (session_key))
    PARTITION BY HASH (session_key);

CREATE INDEX session_new_owner_idx ON session_new (owner) WHERE owner IS NOT NULL;

DO $$
DECLARE
    partitions CONSTANT int := 8;
    granted record;
BEGIN
    FOR number IN 0 .. partitions - 1 LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF session_new '
            'FOR VALUES WITH (MODULUS %s, REMAINDER %s) WITH (fillfactor = 90)',
            'session_p' || number, partitions, number);
    END LOOP;
    FOR granted IN
        SELECT privilege_type, grantee, is_grantable FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = '"session"'::regclass AND grantee <> relowner
    LOOP
        EXECUTE format(
            'GRANT %s ON session_new TO %s %s',
            granted.privilege_type,
            CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END,
            CASE WHEN granted.is_grantable THEN 'WITH GRANT OPTION' END);
    END LOOP;
END $$;

CREATE FUNCTION session_partition_live() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM session_new WHERE session_key = OLD.session_key;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO session_new SELECT NEW.*;
    END IF;
    RETURN NULL;
END $$;

COMMIT;

-- 3. From now on, copy each change to the new table. Attempts to lock the table last 100 ms, because calls wait meanwhile.
DO $$
BEGIN
    LOOP
        BEGIN
            SET LOCAL lock_timeout = '100ms';
            CREATE TRIGGER session_partition_live AFTER INSERT OR UPDATE OR DELETE ON "session"
                FOR EACH ROW EXECUTE FUNCTION session_partition_live();
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.5);
        END;
    END LOOP;
END $$;

-- 4. Copy the other rows, 100 blocks in a transaction, which keeps them from being changed until it ends. Then copy the
-- rows that other transactions had locked, one in a transaction.
DO $$
DECLARE
    blocks CONSTANT bigint := pg_relation_size('"session"') / current_setting('block_size')::bigint;
    missing record;
BEGIN
    FOR block IN 0 .. blocks BY 100 LOOP
        INSERT INTO session_new
            SELECT * FROM "session"
            WHERE ctid >= format('(%s,0)', block)::tid AND ctid < format('(%s,0)', block + 100)::tid
            FOR SHARE SKIP LOCKED
            ON CONFLICT DO NOTHING;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    FOR missing IN
        SELECT session_key FROM "session" AS old
        WHERE NOT EXISTS (SELECT FROM session_new AS new WHERE new.session_key = old.session_key)
    LOOP
        INSERT INTO session_new
            SELECT * FROM "session" WHERE session_key = missing.session_key FOR SHARE
            ON CONFLICT DO NOTHING;
        COMMIT;
    END LOOP;
END $$;

ANALYZE session_new;

-- 5. Compare the tables.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM "session" AS old FULL JOIN session_new AS new USING (session_key)
        WHERE old::text IS DISTINCT FROM new::text
    ) THEN
        RAISE 'the tables differ';
    END IF;
END $$;

-- 6. Exchange the tables.
DO $$
BEGIN
    LOOP
        BEGIN
            SET LOCAL lock_timeout = '100ms';
            LOCK TABLE "session", ONLY session_new IN ACCESS EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.5);
        END;
    END LOOP;
    DROP TRIGGER session_partition_live ON "session";
    ALTER TABLE "session" RENAME TO session_old;
    ALTER INDEX IF EXISTS session_pkey RENAME TO session_old_pkey;
    ALTER INDEX IF EXISTS session_owner_idx RENAME TO session_old_owner_idx;
    ALTER TABLE session_new RENAME TO "session";
    ALTER INDEX session_new_pkey RENAME TO session_pkey;
    ALTER INDEX session_new_owner_idx RENAME TO session_owner_idx;
    DROP FUNCTION session_partition_live();
END $$;

-- When the programs have used the new table for a while: DROP TABLE session_old
