//! Keys, values and passwords must not appear in anything that could be logged.

use std::{cell::RefCell, error::Error as _};

use session_postgres::{
    Error, Key, MemoryStore, OwnedSession, Period, PostgresStore, Session, SessionFields, Store,
    postgres::NoTls, r2d2::Pool,
};

use crate::support::database::{Manager, Schema};

const VALUE: &str = "SecretOfTheLobster";

/// All texts of an error and its sources.
fn everything(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(" {cause} {cause:?}");
        source = cause.source();
    }
    text
}

/// Fails if the text contains the key or [`VALUE`].
fn assert_hides(text: &str, key: &Key) {
    let is_hidden = !text.contains(VALUE) && !text.contains(key.as_str());
    assert!(is_hidden, "{text}");
}

#[test]
fn debug_shows_no_key_and_no_value() {
    let key = Key::generate().unwrap();
    assert_eq!(format!("{key:?} {key:#?}"), "Key(..) Key(..)");
    let session = Session::new(VALUE.into(), Period::HOUR);
    assert!(!format!("{session:?} {session:#?}").contains(VALUE));
    let owned = OwnedSession::new(key.handle(), Some(VALUE.into()), Period::HOUR);
    assert_hides(&format!("{owned:?} {owned:#?}"), &key);
    let fields = SessionFields::new(Some(VALUE), None);
    assert_hides(&format!("{fields:?} {fields:#?}"), &key);

    let schema = Schema::new();
    for store in [
        schema.store(),
        schema.builder().from_client(schema.client()),
    ] {
        let key = store.generate(Some(VALUE), None).unwrap();
        let text = format!("{store:?} {store:#?}");
        assert_hides(&text, &key);
        let done = store.transaction(|tx| {
            let key = tx.generate(Some(VALUE), None)?;
            assert_hides(&format!("{tx:?} {tx:#?}"), &key);
            Ok::<_, Error>(())
        });
        done.unwrap();
    }
    let store = MemoryStore::new();
    let key = store.generate(Some(VALUE), None).unwrap();
    let text = format!("{store:?} {store:#?}");
    assert_hides(&text, &key);
}

#[test]
fn no_error_of_a_call_shows_its_key_or_value() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate(Some("old"), None).unwrap();
    schema.run(&format!(
        "ALTER TABLE session ADD CHECK (session_data <> '{VALUE}')"
    ));
    // The server's own error quotes the row.
    let told = schema
        .client()
        .execute("UPDATE session SET session_data = $1", &[&VALUE])
        .unwrap_err();
    assert!(
        told.as_db_error()
            .unwrap()
            .detail()
            .unwrap()
            .contains(VALUE)
    );

    let with_value = SessionFields::new(Some(VALUE), None);
    let new = Key::generate().unwrap();
    let mut errors = vec![
        store.rotate_with(&key, with_value).unwrap_err(),
        store.rotate_to(&key, &new, with_value).unwrap_err(),
        store.rotate_to(&key, &key, with_value).unwrap_err(),
        store
            .set_owner(&key, Some(&format!("{VALUE}\0")))
            .unwrap_err(),
        store
            .transaction(|tx| tx.set(&key, VALUE, None))
            .unwrap_err(),
        store
            .transaction(|tx| tx.generate(Some(VALUE), None).map(drop))
            .unwrap_err(),
        store
            .transaction(|tx| tx.rotate_with(&key, with_value).map(drop))
            .unwrap_err(),
        // A statement of the caller.
        store
            .transaction(|tx| {
                let sql = "UPDATE session SET session_data = $1";
                tx.execute(sql, &[&VALUE])?;
                Ok::<_, Error>(())
            })
            .unwrap_err(),
        store.set(&key, VALUE, None).unwrap_err(),
        store.generate(Some(VALUE), None).unwrap_err(),
        store
            .insert(&Key::generate().unwrap(), Some(VALUE), None)
            .unwrap_err(),
        store.insert(&key, Some(VALUE), None).unwrap_err(),
        store
            .update(&key, None, &mut |_| Some(VALUE.into()))
            .unwrap_err(),
        store
            .set_many(&[(&key, VALUE, None)])
            .pop()
            .unwrap()
            .unwrap_err(),
        store.set(&key, &format!("{VALUE}\0"), None).unwrap_err(),
        store.set(&key, VALUE, Some(Period::MAX)).unwrap_err(),
        Error::from(format!("{VALUE} {key}").parse::<Key>().unwrap_err()),
    ];
    store.clear(&key).unwrap();
    errors.push(store.get(&key).unwrap_err());
    errors.push(store.set(&key, VALUE, None).unwrap_err());
    errors.push(store.renew(&key, None).unwrap_err());
    errors.push(store.rotate_with(&key, with_value).unwrap_err());
    errors.push(store.set_owner(&key, Some(VALUE)).unwrap_err());
    schema.run("ALTER TABLE session DROP COLUMN owner");
    errors.push(store.set_owner(&key, Some(VALUE)).unwrap_err());
    errors.push(store.owned(VALUE).unwrap_err());
    errors.push(store.clear_owned(VALUE, Some(&key)).unwrap_err());
    errors.push(store.clear_handle(VALUE, &key.handle()).unwrap_err());
    schema.run("DROP TABLE session");
    errors.push(store.get(&key).unwrap_err());
    errors.push(store.set(&key, VALUE, None).unwrap_err());
    for error in errors {
        let text = everything(&error);
        assert_hides(&text, &key);
    }
}

/// If a column is computed from a value or key, the server's message quotes it.
#[test]
fn no_error_about_invalid_data_shows_the_data() {
    let schema = Schema::new();
    let store = schema.store();
    let key = store.generate(None, None).unwrap();
    schema.run(
        "ALTER TABLE session ADD COLUMN user_id int GENERATED ALWAYS AS (session_data::int) STORED",
    );
    let of_value = store.set(&key, VALUE, None).unwrap_err();
    let of_transaction = store.transaction(|tx| tx.set(&key, VALUE, None));
    let of_caller = store.transaction(|tx| {
        tx.execute("UPDATE session SET session_data = $1", &[&VALUE])?;
        Ok::<_, Error>(())
    });
    store.clear(&key).unwrap();
    schema.run(
        "ALTER TABLE session DROP COLUMN user_id, \
         ADD COLUMN number int GENERATED ALWAYS AS (session_key::text::int) STORED",
    );
    let of_key = store.insert(&key, None, None).unwrap_err();
    let of_transactions = [of_transaction, of_caller].map(Result::unwrap_err);
    for error in [of_value, of_key].into_iter().chain(of_transactions) {
        assert_eq!(error.sqlstate().unwrap().code(), "22P02");
        let text = everything(&error);
        assert_hides(&text, &key);
    }
}

/// A logger that records the messages of threads whose `LOGGED` is set.
struct Logs;

thread_local! {
    static LOGGED: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl log::Log for Logs {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        LOGGED.with_borrow(Option::is_some)
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.with_borrow_mut(|logged| {
            if let Some(logged) = logged {
                *logged += &format!("{}\n", record.args());
            }
        });
    }

    fn flush(&self) {}
}

#[test]
fn no_log_shows_a_key_or_value() {
    log::set_logger(&Logs).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    LOGGED.set(Some(String::new()));
    let value = "SecretOfTheShrimp";
    let schema = Schema::new();
    for prepared in [true, false] {
        let store = schema
            .builder()
            .prepared(prepared)
            .from_pool(schema.pool(1));
        store.create_table().unwrap();
        let mut keys = vec![store.generate(Some(value), None).unwrap()];
        store.set(&keys[0], value, None).unwrap();
        store.touch(&keys[0], None).unwrap();
        store
            .update(&keys[0], None, &mut |_| Some(value.into()))
            .unwrap();
        store.get(&keys[0]).unwrap();
        store.renew(&keys[0], Some(Period::DAY * 30)).unwrap();
        keys.push(store.rotate(&keys[0]).unwrap());
        let fields = SessionFields {
            value: Some(value),
            expiry: None,
            owner: Some("crab"),
        };
        let mut others = vec![store.generate_with(fields).unwrap()];
        others.push(store.rotate_with(&others[0], fields).unwrap());
        store.set_owner(&others[1], Some("prawn")).unwrap();
        assert_eq!(store.owned("prawn").unwrap().len(), 1);
        store.clear_owned("prawn", Some(&others[1])).unwrap();
        let done = store.transaction(|tx| {
            tx.set(&others[1], value, None)?;
            tx.renew(&others[1], Some(Period::DAY * 30))?;
            tx.update(&others[1], None, |_| Some(value.to_owned()))?;
            others.push(tx.rotate_with(&others[1], fields)?);
            others.push(tx.generate_with(fields)?);
            tx.clear_owned("crab", Some(&others[2]))
        });
        assert!(done.unwrap() >= 1);
        for key in store.generate_many(&[
            SessionFields::new(Some(value), None),
            SessionFields::new(Some(value), None),
        ]) {
            keys.push(key.unwrap());
        }
        store.get_many(&[&keys[2], &keys[3]]);
        store.set_many(&[(&keys[2], value, None), (&keys[3], value, None)]);
        store.touch_many(&[(&keys[2], None), (&keys[3], None)]);
        store
            .insert_many(&[(&keys[2], Some(value), None)])
            .pop()
            .unwrap()
            .unwrap_err();
        store.clear_many(&[&keys[2], &keys[3]]);
        store.clear(&keys[1]).unwrap();

        let logs = LOGGED.take().unwrap();
        LOGGED.set(Some(String::new()));
        // The driver logs the parameters of prepared statements.
        assert_eq!(logs.contains("with parameters"), prepared);
        assert!(!logs.contains(value), "a value was logged");
        for key in keys.iter().chain(&others) {
            assert!(!logs.contains(key.as_str()), "a key was logged");
        }
    }
}

#[test]
fn no_error_of_connecting_shows_the_password() {
    let password = "SecretOfTheCrab";
    for params in [
        format!("host=/nowhere user=x password={password}"),
        format!("postgres://x:{password}@127.0.0.1:1/x?connect_timeout=1"),
        format!("host=x password={password} port=abc"),
        format!("host=x password=a b{password}=c"),
        format!("host=x password=a {password}"),
        format!("host=x password='{password}"),
        password.to_owned(),
    ] {
        let text = everything(&PostgresStore::connect(&params).unwrap_err());
        assert!(!text.contains(password), "{text}");
    }

    let schema = Schema::new();
    let mut config = schema.config();
    config.password(password);
    let pool = Pool::builder()
        .max_size(1)
        .build(Manager::new(config, NoTls))
        .unwrap();
    assert!(!format!("{:?}", schema.builder().from_pool(pool)).contains(password));
}
