//! A schema on the search path in which other roles may create functions and operators. The store must
//! call only those of the server.

use std::sync::Arc;

use session_postgres::{
    Error, Key, Period, PostgresStore, Pruner, SessionFields, Store, ValueType,
};

use crate::support::{database::Schema, wait_until};

/// Functions and operators with the names of those that the store uses, for many types. Each raises an
/// error. PostgreSQL would call them if their types fit better than those of the server's own.
const TRAPS: &str = "
DO $$
DECLARE
    types text[] := '{bigint, integer, float8, numeric, interval, timestamptz, timestamp, text, \
                      bpchar, varchar, oid, regclass, tid, bytea, jsonb, bpchar[], varchar[], text[], \
                      bigint[]}';
    one text;
    other text;
    name text;
BEGIN
    FOREACH one IN ARRAY types LOOP
        FOREACH name IN ARRAY '{unnest, format, set_config, current_setting, count, max, txid_status, \
                              pg_relation_size, pg_partition_tree, pg_try_advisory_xact_lock, \
                              pg_terminate_backend, to_regclass, format_type, sha256, concat, \
                              has_table_privilege}'::text[] LOOP
            EXECUTE pg_catalog.format('CREATE FUNCTION %I(%s) RETURNS SETOF bpchar LANGUAGE plpgsql \
                AS ''BEGIN RAISE ''''trapped''''; END''', name, one);
        END LOOP;
        FOREACH other IN ARRAY types LOOP
            FOREACH name IN ARRAY '{format, set_config, pg_try_advisory_xact_lock, \
                                  has_table_privilege, format_type, left, encode, convert_to, \
                                  concat, substring, trap}'::text[] LOOP
                EXECUTE pg_catalog.format('CREATE FUNCTION %I(%s, %s) RETURNS boolean LANGUAGE plpgsql \
                    AS ''BEGIN RAISE ''''trapped''''; END''', name, one, other);
            END LOOP;
            FOREACH name IN ARRAY '{=, <>, <, >, <=, >=, +, *, /}'::text[] LOOP
                EXECUTE pg_catalog.format('CREATE OPERATOR %s (LEFTARG = %s, RIGHTARG = %s, \
                    FUNCTION = trap)', name, one, other);
            END LOOP;
        END LOOP;
        FOREACH name IN ARRAY '{translate, substring, concat}'::text[] LOOP
            EXECUTE pg_catalog.format('CREATE FUNCTION %I(%s, text, text) RETURNS text LANGUAGE plpgsql \
                AS ''BEGIN RAISE ''''trapped''''; END''', name, one);
            EXECUTE pg_catalog.format('CREATE FUNCTION %I(%s, integer, integer) RETURNS bytea \
                LANGUAGE plpgsql AS ''BEGIN RAISE ''''trapped''''; END''', name, one);
        END LOOP;
    END LOOP;
END $$";

#[test]
fn functions_and_operators_of_other_roles_are_not_called() {
    for key_type in ["char(40)", "text", "varchar(255)"] {
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

type Verb = (&'static str, fn(&PostgresStore, &Key) -> Result<(), Error>);

/// Verbs with a value that is valid JSON.
const VERBS_OF_JSON: [Verb; 16] = [
    ("get", |store, key| store.get(key).map(drop)),
    ("get_many", |store, key| one(store.get_many(&[key, key]))),
    ("renew", |store, key| store.renew(key, None).map(drop)),
    ("renew_many", |store, key| {
        one(store.renew_many(&[(key, None); 2]))
    }),
    ("set", |store, key| store.set(key, "2", None)),
    ("set briefly", |store, key| {
        store.set(key, "2", Some(Period::seconds(9)))
    }),
    ("set_many", |store, key| {
        one(store.set_many(&[(key, "2", None); 2]))
    }),
    ("touch", |store, key| store.touch(key, None)),
    ("update", |store, key| {
        store.update(key, None, &mut |_| Some("3".into())).map(drop)
    }),
    ("rotate_with", |store, key| {
        let changes = SessionFields {
            value: Some("4"),
            expiry: Some(Period::HOUR),
            owner: Some("crab"),
        };
        store.rotate_with(key, changes).map(drop)
    }),
    ("rotate_to", |store, key| {
        store.rotate_to(key, &Key::generate()?, SessionFields::default())
    }),
    ("set_owner", |store, key| store.set_owner(key, Some("crab"))),
    ("owned", |store, key| {
        assert_eq!(store.owned("crab")?[0].handle, key.handle());
        assert!(store.clear_handle("crab", &key.handle())?);
        Ok(())
    }),
    ("insert_many", |store, key| {
        let new = Key::generate()?;
        let results = store.insert_many(&[(key, None, None), (&new, Some("5"), None)]);
        assert!(matches!(results[0], Err(Error::KeyExists)));
        store.clear_many(&[key, &new]);
        one(results.into_iter().skip(1).collect())
    }),
    ("generate_many", |store, _| {
        let fields = SessionFields::new(Some("6"), Some(Period::ZERO));
        one(store.generate_many(&[fields; 2]))
    }),
    ("transaction", |store, key| {
        store.transaction(|tx| {
            tx.set(key, "7", None)?;
            tx.renew(key, Some(Period::DAY * 30))?;
            let key = tx.rotate(key)?;
            tx.update(&key, None, |_| Some("8".to_owned()))?;
            tx.insert(&Key::generate()?, None, Some(Period::ZERO))?;
            assert_eq!(tx.clear_owned("crab", None)?, 1);
            tx.clear(&key)
        })
    }),
];

fn one<T>(results: Vec<Result<T, Error>>) -> Result<(), Error> {
    results.into_iter().next().unwrap().map(drop)
}

#[test]
fn verbs_with_other_options_call_no_functions_and_operators_of_other_roles() {
    for (text, value, value_type) in [
        ("char(255)", "text", ValueType::Text),
        ("varchar(255)", "jsonb", ValueType::Jsonb),
        ("text", "json", ValueType::Json),
    ] {
        let schema = Schema::new();
        schema.run(TRAPS);
        for hashes in [false, true] {
            let key = if hashes {
                "session_key_hash"
            } else {
                "session_key"
            };
            // A `char` does not hold every owner.
            let owner = if text == "char(255)" { "text" } else { text };
            schema.run(&format!(
                "DROP TABLE IF EXISTS session; CREATE TABLE session ({key} {text} PRIMARY KEY, \
                     expire_date timestamptz(2), session_data {value}, \
                     created_at timestamptz DEFAULT now(), owner {owner}); \
                 CREATE INDEX ON session (owner)"
            ));
            for max_age in [None, Some(Period::DAY)] {
                let builder = schema.builder().max_age(max_age).hash_keys(hashes);
                let store = builder.value_type(value_type).from_pool(schema.pool(2));
                store.check().unwrap();
                for (name, verb) in VERBS_OF_JSON {
                    let fields = SessionFields {
                        value: Some("1"),
                        expiry: Some(Period::HOUR),
                        owner: Some("crab"),
                    };
                    let key = store.generate_with(fields).unwrap();
                    verb(&store, &key).unwrap_or_else(|e| panic!("{text}, {name}: {e:?}"));
                    store.clear_owned("crab", None).unwrap();
                }
                assert!(store.prune(100).unwrap() > 0);
            }
        }
    }
}
