//! A schema on the search path in which other roles may create functions and operators. The store must
//! call only those of the server.

use std::sync::Arc;

use session_postgres::{Error, Period, Pruner, SessionFields, Store};

use crate::support::{database::Schema, wait_until};

/// Functions and operators with the names of those that the store uses, for many types. Each raises an
/// error. PostgreSQL would call them if their types fit better than those of the server's own.
const TRAPS: &str = "
DO $$
DECLARE
    types text[] := '{bigint, integer, float8, numeric, interval, timestamptz, timestamp, text, \
                      bpchar, varchar, oid, regclass, tid, bpchar[], text[], bigint[]}';
    one text;
    other text;
    name text;
BEGIN
    FOREACH one IN ARRAY types LOOP
        FOREACH name IN ARRAY '{unnest, format, set_config, current_setting, count, max, txid_status, \
                              pg_relation_size, pg_partition_tree, pg_try_advisory_xact_lock, \
                              pg_terminate_backend, to_regclass, format_type, \
                              has_table_privilege}'::text[] LOOP
            EXECUTE pg_catalog.format('CREATE FUNCTION %I(%s) RETURNS SETOF bpchar LANGUAGE plpgsql \
                AS ''BEGIN RAISE ''''trapped''''; END''', name, one);
        END LOOP;
        FOREACH other IN ARRAY types LOOP
            FOREACH name IN ARRAY '{format, set_config, pg_try_advisory_xact_lock, \
                                  has_table_privilege, format_type, trap}'::text[] LOOP
                EXECUTE pg_catalog.format('CREATE FUNCTION %I(%s, %s) RETURNS boolean LANGUAGE plpgsql \
                    AS ''BEGIN RAISE ''''trapped''''; END''', name, one, other);
            END LOOP;
            FOREACH name IN ARRAY '{=, <>, <, >, <=, >=, +, *, /}'::text[] LOOP
                EXECUTE pg_catalog.format('CREATE OPERATOR %s (LEFTARG = %s, RIGHTARG = %s, \
                    FUNCTION = trap)', name, one, other);
            END LOOP;
        END LOOP;
    END LOOP;
END $$";

#[test]
fn functions_and_operators_of_other_roles_are_not_called() {
    for key_type in ["char(40)", "text"] {
        let schema = Schema::new();
        schema.run(&format!(
            "CREATE TABLE session (session_key {key_type} PRIMARY KEY, \
                 expire_date timestamptz (2), session_data text)"
        ));
        schema.run(TRAPS);
        let store = schema.builder().from_pool(schema.pool(2));
        store.create_table().unwrap();
        store.check().unwrap();

        let key = store.generate(Some("lobster"), None).unwrap();
        store.set(&key, "crab", Some(Period::HOUR)).unwrap();
        store.touch(&key, None).unwrap();
        store
            .update(&key, None, &mut |_| Some("prawn".to_owned()))
            .unwrap();
        let key = store.rotate(&key).unwrap();
        assert_eq!(store.get(&key).unwrap().value, "prawn");
        assert!(matches!(
            store.insert(&key, None, None),
            Err(Error::KeyExists)
        ));
        store.clear(&key).unwrap();

        let made = store.generate_many(&[
            SessionFields::new(Some("a"), None),
            SessionFields::new(None, None),
        ]);
        let keys: Vec<_> = made.iter().map(|key| key.as_ref().unwrap()).collect();
        for result in [
            store.set_many(&[(keys[0], "b", None), (keys[1], "c", None)]),
            store.touch_many(&[(keys[0], None), (keys[1], None)]),
        ] {
            assert!(result.iter().all(Result::is_ok), "{result:?}");
        }
        let found = store.get_many(&keys);
        assert!(found.iter().all(Result::is_ok), "{found:?}");
        let again = store.insert_many(&[(keys[0], None, None), (keys[1], None, None)]);
        assert!(matches!(
            again[..],
            [Err(Error::KeyExists), Err(Error::KeyExists)]
        ));
        let cleared = store.clear_many(&keys);
        assert!(cleared.iter().all(Result::is_ok), "{cleared:?}");

        store.generate(None, Some(Period::ZERO)).unwrap();
        assert_eq!(store.prune(10).unwrap(), 1);
        store.generate(None, Some(Period::ZERO)).unwrap();
        let pruner = Pruner::start(Arc::new(store));
        wait_until("the pruner to remove the row", || {
            pruner.stats().removed == 1
        });
    }
}
