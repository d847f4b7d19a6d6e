//! Calls about owners, and rotations that change more than the key, whose connections are cut.

use session_postgres::{Error, Key, PostgresStore, SessionFields, Store};

use super::cut_statements::{AUDIT, Cut, audited, behind_proxy};
use crate::support::{database::Schema, proxy::Break, verbs::of_owner};

/// Runs `check` with cuts before and after the server executes a statement.
fn cut_around_statements(check: impl Fn(&PostgresStore, &Cut, &Schema)) {
    let (schema, proxy, store) = behind_proxy(false);
    schema.run(AUDIT);
    for at in [Break::BeforeStatement, Break::AfterStatement] {
        let cut = Cut {
            proxy: &proxy,
            store: &store,
            at,
        };
        check(&store, &cut, &schema);
    }
}

type Write = fn(&PostgresStore, &Key) -> Result<(), Error>;

/// Writes that change one row. They cannot be sent again, because it is unknown whether the server has executed them.
const WRITES: [Write; 4] = [
    |store, key| store.set_owner(key, Some("prawn")),
    |store, key| store.set_owner(key, None),
    |store, _| store.clear_owned("crab", None).map(drop),
    |store, key| store.clear_handle("crab", &key.handle()).map(drop),
];

#[test]
fn a_write_for_an_owner_that_is_cut_is_not_sent_again() {
    cut_around_statements(|store, cut, schema| {
        for (number, write) in WRITES.into_iter().enumerate() {
            let key = store.generate_with(of_owner("crab")).unwrap();
            let before = audited(schema);
            let result = cut.during(|| write(store, &key));
            assert!(
                matches!(result, Err(Error::Disconnected(_))),
                "{number}: {result:?}"
            );
            let rows = i64::from(cut.is_executed());
            assert_eq!(audited(schema) - before, rows, "{number}");
            store.clear(&key).unwrap();
        }
    });
}

#[test]
fn a_list_of_an_owner_that_is_cut_is_read_again() {
    cut_around_statements(|store, cut, _| {
        let key = store.generate_with(of_owner("crab")).unwrap();
        let owned = cut.during(|| store.owned("crab")).unwrap();
        assert_eq!(owned[0].handle, key.handle());
        store.clear(&key).unwrap();
    });
}

#[test]
fn a_session_with_an_owner_is_created_once() {
    cut_around_statements(|store, cut, schema| {
        let before = audited(schema);
        let key = cut
            .during(|| store.generate_with(of_owner("crab")))
            .unwrap();
        assert_eq!(store.owned("crab").unwrap()[0].handle, key.handle());
        assert_eq!(audited(schema) - before, 1);
        store.clear(&key).unwrap();
    });
}

#[test]
fn a_rotation_with_changes_that_is_cut_is_applied_once() {
    cut_around_statements(|store, cut, schema| {
        let old = store.generate(Some("basket"), None).unwrap();
        let before = audited(schema);
        let new = cut
            .during(|| store.rotate_with(&old, of_owner("crab")))
            .unwrap();
        assert_eq!(store.get(&new).unwrap().value, "lobster");
        assert_eq!(store.owned("crab").unwrap()[0].handle, new.handle());
        assert!(store.find(&old).unwrap().is_none());
        assert_eq!(audited(schema) - before, 1);
        store.clear(&new).unwrap();
    });
}

/// Another session may have the key that the caller gives, so the stored key proves nothing.
#[test]
fn a_rotation_to_a_given_key_that_is_cut_is_not_sent_again() {
    cut_around_statements(|store, cut, schema| {
        let old = store.generate(Some("lobster"), None).unwrap();
        let given = Key::generate().unwrap();
        let before = audited(schema);
        let changes = SessionFields::new(Some("crab"), None);
        // A rotation removes expired rows of the new key first, in a statement of its own.
        let result = cut.during(|| store.rotate_to(&old, &given, changes));
        let moved = audited(schema) - before;
        match result {
            Ok(()) => assert_eq!(moved, 1),
            Err(Error::Disconnected(_)) => assert!(moved <= 1),
            Err(e) => panic!("{e:?}"),
        }
        let found = [&old, &given].map(|key| store.find(key).unwrap().map(|s| s.value));
        let expected = match moved {
            1 => [None, Some("crab".to_owned())],
            _ => [Some("lobster".to_owned()), None],
        };
        assert_eq!(found, expected);
        store.clear(&old).unwrap();
        store.clear(&given).unwrap();
    });
}

/// The server ends the connection when it begins to execute an `UPDATE`.
const ENDS_AT_UPDATE: &str = "
CREATE FUNCTION end_connection() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid());
    RETURN NULL;
END $$;
CREATE TRIGGER end_connection BEFORE UPDATE ON session
    FOR EACH STATEMENT EXECUTE FUNCTION end_connection()";

#[test]
fn a_rotation_to_the_key_of_another_session_is_never_a_success() {
    let schema = Schema::new();
    let store = schema.store();
    let old = store.generate(Some("lobster"), None).unwrap();
    let other = store.generate(Some("crab"), None).unwrap();
    schema.run(ENDS_AT_UPDATE);
    let result = store.rotate_to(&old, &other, SessionFields::default());
    assert!(matches!(result, Err(Error::Disconnected(_))), "{result:?}");
    assert_eq!(store.get(&old).unwrap().value, "lobster");
    assert_eq!(store.get(&other).unwrap().value, "crab");
}
