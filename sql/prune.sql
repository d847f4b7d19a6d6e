-- Removes what has expired. The store never finds an expired row, so this only frees its space: run
-- it now and then, for example from cron.
DELETE FROM "session" WHERE expire_date <= now() OR expire_date IS NULL;
