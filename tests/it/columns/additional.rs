//! Columns that the store does not know, and tables that refer to the sessions.

use session_postgres::{Error, Key, Period, SessionFields, Store};

use crate::support::{
    database::Schema,
    verbs::{VERBS, of_owner},
};

#[test]
fn other_columns_get_their_defaults_and_are_kept() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run(
        "ALTER TABLE session ADD COLUMN id bigserial, ADD COLUMN tenant int NOT NULL DEFAULT 7, \
             ADD COLUMN seen timestamptz DEFAULT clock_timestamp(), ADD COLUMN note text",
    );
    store.check().unwrap();
    for (name, verb) in VERBS {
        let key = store.generate_with(of_owner("crab")).unwrap();
        verb(&store, &key).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
    assert_eq!(schema.count("tenant <> 7 OR id IS NULL OR seen IS NULL"), 0);
    store.clear_owned("crab", None).unwrap();

    let key = store.generate_with(of_owner("crab")).unwrap();
    schema.run("UPDATE session SET tenant = 8, note = 'kept' WHERE owner = 'crab'");
    store.set(&key, "a", None).unwrap();
    store.update(&key, None, &mut |_| Some("b".into())).unwrap();
    store.renew(&key, Some(Period::DAY * 30)).unwrap();
    let key = store
        .rotate_with(&key, SessionFields::new(Some("c"), None))
        .unwrap();
    store.set_owner(&key, Some("prawn")).unwrap();
    assert_eq!(
        schema.count("tenant = 8 AND note = 'kept' AND session_data = 'c'"),
        1
    );
}

#[test]
fn a_column_with_the_name_created_at_may_have_another_type() {
    for ty in ["timestamp", "bigint", "text"] {
        let schema = Schema::new();
        let store = schema.store();
        schema.run(&format!(
            "ALTER TABLE session DROP COLUMN created_at, ADD COLUMN created_at {ty}"
        ));
        let key = store.generate_with(of_owner("crab")).unwrap();
        let sessions = [
            store.get(&key),
            store.get_many(&[&key, &key]).remove(0),
            store.renew(&key, Some(Period::DAY * 30)),
            store.update(&key, None, &mut |_| Some("crab".into())),
        ];
        for session in sessions {
            assert_eq!(session.unwrap().age, None, "{ty}");
        }
        assert_eq!(store.owned("crab").unwrap()[0].age, None);
        let problems = store.check().unwrap_err().to_string();
        assert!(
            problems.contains("set another name by `columns`"),
            "{problems}"
        );
    }
}

#[test]
fn a_rotation_keeps_the_owner_and_the_time_of_creation() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate_with(of_owner("crab")).unwrap();
    schema.run("UPDATE session SET created_at = now() - interval '3 days'");
    let key = store.rotate(&key).unwrap();
    let key = store
        .rotate_with(&key, SessionFields::new(None, Some(Period::HOUR)))
        .unwrap();
    let is_old =
        "owner = 'crab' AND created_at < now() - interval '2 days' AND session_data = 'lobster'";
    assert_eq!(schema.count(is_old), 1);
    assert!(store.get(&key).unwrap().age.unwrap() > Period::DAY * 2);
    assert_eq!(store.owned("crab").unwrap()[0].handle, key.handle());
}

fn with_devices(action: &str) -> (Schema, session_postgres::PostgresStore, Key) {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate_with(of_owner("crab")).unwrap();
    schema.run(&format!(
        "CREATE TABLE device (session_key char(40) REFERENCES session {action}); \
         INSERT INTO device SELECT session_key FROM session"
    ));
    (schema, store, key)
}

fn refers_to(schema: &Schema) -> String {
    let sql = "SELECT session_key FROM device";
    schema.client().query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn a_foreign_key_that_cascades_follows_a_rotation() {
    let (schema, store, key) = with_devices("ON UPDATE CASCADE ON DELETE CASCADE");
    let key = store.rotate(&key).unwrap();
    assert_eq!(refers_to(&schema), key.as_str());
    let key = store.rotate_with(&key, of_owner("prawn")).unwrap();
    assert_eq!(refers_to(&schema), key.as_str());
    let new = Key::generate().unwrap();
    store
        .rotate_to(&key, &new, SessionFields::default())
        .unwrap();
    assert_eq!(refers_to(&schema), new.as_str());
    store.set(&new, "x", None).unwrap();
    assert_eq!(store.clear_owned("prawn", None).unwrap(), 1);
    let sql = "SELECT FROM device";
    assert_eq!(schema.client().query(sql, &[]).unwrap().len(), 0);
}

#[test]
fn a_foreign_key_that_does_not_cascade_refuses_a_rotation() {
    let (schema, store, key) = with_devices("");
    let new = Key::generate().unwrap();
    for result in [
        store.rotate(&key).map(drop),
        store.rotate_with(&key, of_owner("prawn")).map(drop),
        store.rotate_to(&key, &new, SessionFields::default()),
        store.transaction(|tx| tx.rotate(&key).map(drop)),
        store.clear(&key),
        store.clear_owned("crab", None).map(drop),
    ] {
        let Err(Error::Database(error)) = result else {
            panic!("{result:?}");
        };
        assert_eq!(error.code().unwrap().code(), "23503");
        let text = format!("{error} {error:?}");
        assert!(text.contains("foreign key constraint"), "{text}");
        assert!(!text.contains(key.as_str()), "{text}");
    }
    assert_eq!(refers_to(&schema), key.as_str());
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    assert_eq!(store.owned("crab").unwrap().len(), 1);
}
