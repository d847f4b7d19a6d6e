//! Triggers on the table.

use session_postgres::{Error, Key, SessionFields, Store};

use crate::support::database::Schema;

#[test]
fn a_new_session_that_a_trigger_discards_is_an_error() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run(
        "CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.session_data = 'bad' THEN RETURN NULL; END IF; \
             RETURN NEW; \
         END $$; \
         CREATE TRIGGER discard BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION discard()",
    );
    let new = [(); 3].map(|()| Key::generate().unwrap());
    let is_discarded = |result: &Result<(), Error>| match result {
        Err(Error::Database(e)) => e.message().contains("discarded"),
        _ => false,
    };
    let alone = [
        store.generate(Some("bad"), None).map(drop),
        store.insert(&new[0], Some("bad"), None),
    ];
    assert!(alone.iter().all(is_discarded), "{alone:?}");
    let made = store.generate_many(&[
        SessionFields::new(Some("good"), None),
        SessionFields::new(Some("bad"), None),
    ]);
    let [good, bad] = made.try_into().unwrap();
    assert_eq!(store.get(&good.unwrap()).unwrap().value, "good");
    assert!(is_discarded(&bad.map(drop)));
    let inserted =
        store.insert_many(&[(&new[1], Some("good"), None), (&new[2], Some("bad"), None)]);
    assert!(inserted[0].is_ok(), "{inserted:?}");
    assert!(is_discarded(&inserted[1]), "{inserted:?}");
    assert_eq!(schema.count("true"), 2);
}

#[test]
fn a_new_session_that_a_trigger_stores_in_another_table_is_found() {
    let schema = Schema::new();
    let store = schema.store();
    schema.run(
        "CREATE TABLE child (PRIMARY KEY (session_key)) INHERITS (session); \
         CREATE FUNCTION divert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO child VALUES (NEW.*); \
             RETURN NULL; \
         END $$; \
         CREATE TRIGGER divert BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION divert()",
    );
    let key = store.generate(Some("lobster"), None).unwrap();
    assert_eq!(store.get(&key).unwrap().value, "lobster");
    for made in store.generate_many(&[
        SessionFields::new(Some("a"), None),
        SessionFields::new(Some("b"), None),
    ]) {
        store.get(&made.unwrap()).unwrap();
    }
    let in_transaction = Key::generate().unwrap();
    for (value, expected) in [("x", true), ("y", false)] {
        let inserted = store.transaction(|tx| tx.insert(&in_transaction, Some(value), None));
        let is_expected = match inserted {
            Ok(()) => expected,
            Err(Error::KeyExists) => !expected,
            Err(_) => false,
        };
        assert!(is_expected, "{value}");
    }
    store.clear(&in_transaction).unwrap();
    let new = [(); 3].map(|()| Key::generate().unwrap());
    store.insert(&new[0], Some("crab"), None).unwrap();
    let inserted = store.insert_many(&[(&new[1], Some("a"), None), (&new[2], Some("b"), None)]);
    assert!(inserted.iter().all(Result::is_ok), "{inserted:?}");
    for key in &new {
        let again = store.insert(key, Some("prawn"), None);
        assert!(matches!(again, Err(Error::KeyExists)), "{again:?}");
    }
    assert_eq!(store.get(&new[0]).unwrap().value, "crab");
    assert_eq!(schema.count("true"), 6);
}
